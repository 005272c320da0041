import type { SearchEvent } from '../options.js'
import type { LiveView, LiveViewOptions, Screen } from './live-view.js'
import { milliseconds, stepMs, value } from './numbers.js'
import { Progress } from './progress.js'
import { plain } from './text.js'

/** For a file or a pipe: nothing that was written is written over. */
export class PlainView<A, O> implements LiveView<A, O> {
  readonly #progress: Progress<A, O>
  readonly #stream: Screen

  constructor(options: LiveViewOptions<A, O>, stream: Screen) {
    this.#progress = new Progress(options)
    this.#stream = stream
    if (options.title !== undefined) this.note(options.title)
  }

  readonly onEvent = (event: SearchEvent<A, O>): void => {
    this.#progress.take(event)
    if (event.type === 'interrupted') this.note(`${event.id} waits: ${plain(event.reason)}`)
    if (event.type !== 'made') return
    const { id, parent, status, value: worth, times } = event.outcome
    const branch = this.#progress.branches.get(id)
    const what = branch ? this.#progress.label(branch) : String(id)
    const figures = [
      `after ${parent}`,
      status === 'failed' ? 'failed' : `value ${worth === null ? '–' : value(worth)}`,
      `rollback ${milliseconds(times.goTo)} (${milliseconds(times.goToHidden)} hidden)`,
      `checkpoint ${milliseconds(times.checkpoint)}`,
      `step ${milliseconds(stepMs(times))}`,
      this.#progress.times,
    ]
    this.note(`${what} | ${figures.join(' | ')}`)
  }

  note(message: string): void {
    this.#stream.write(`${message}\n`)
  }

  close(): void {
    for (const [name, text] of this.#progress.summary) this.note(`${name.padEnd(12)} ${text}`)
  }
}
