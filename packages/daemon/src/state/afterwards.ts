/** What nobody who asks for something need wait for: it is done when they were answered, and had the time to ask for the next. */
import type { Logger } from 'pino'

/** The next request after an answer mostly comes within two. */
const DELAY_MS = 5

export class Afterwards {
  readonly #log: Logger
  #tasks: (() => unknown)[] = []
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  constructor(log: Logger) {
    this.#log = log
  }

  add(task: () => unknown): void {
    if (this.#stopped) return
    this.#tasks.push(task)
    this.#timer ??= setTimeout(() => this.finish(), DELAY_MS)
  }

  /** All of it now: for whoever looks at what it changes. */
  finish(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const tasks = this.#tasks
    this.#tasks = []
    for (const task of tasks) this.#do(task)
  }

  /** What comes after this is left to the next daemon. */
  stop(): void {
    this.finish()
    this.#stopped = true
  }

  #do(task: () => unknown): void {
    try {
      task()
    } catch (error) {
      this.#log.error({ err: error }, 'what was to be done after an answer has failed')
    }
  }
}
