/** A program that is a child of this process, started anew as often as it takes. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { Talk } from '../inside/talk.js'
import { ENVIRONMENT } from './run.js'

export class Child {
  readonly #command: readonly string[]
  readonly #directory: string
  /** A file, for what it complains of. */
  readonly #errors: string
  #process: ChildProcess | undefined
  #talk: Talk | undefined

  constructor(command: readonly string[], directory: string, errors: string) {
    this.#command = command
    this.#directory = directory
    this.#errors = errors
  }

  /** Until it can be asked. */
  async start(): Promise<void> {
    const [program = '', ...args] = this.#command
    const errors = openSync(this.#errors, 'w')
    const child = spawn(program, args, {
      cwd: this.#directory,
      env: ENVIRONMENT,
      stdio: ['pipe', 'pipe', errors],
    })
    closeSync(errors)
    // Where there is no such program this tells, and not an event that nobody waits for.
    await once(child, 'spawn')
    this.#process = child
    const [questions, answers] = child.stdio as [Writable, Readable, null, null, null]
    // Where it has ended, the end of what it says tells so.
    questions.on('error', () => {})
    const lines = createInterface({ input: answers })[Symbol.asyncIterator]()
    this.#talk = new Talk((line) => questions.write(line), lines)
    await this.#explained((talk) => talk.next())
  }

  async ask(line: string): Promise<string> {
    return await this.#explained((talk) => talk.ask(line))
  }

  async kill(): Promise<void> {
    const child = this.#process
    this.#process = undefined
    this.#talk = undefined
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }

  async #explained<T>(say: (talk: Talk) => Promise<T>): Promise<T> {
    if (!this.#talk) throw new Error('the program does not run')
    try {
      return await say(this.#talk)
    } catch (error) {
      throw new Error(`${error}: ${readFileSync(this.#errors, 'utf8').trim()}`, { cause: error })
    }
  }
}
