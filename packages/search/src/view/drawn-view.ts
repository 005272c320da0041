import type { SearchEvent } from '../options.js'
import { headLine } from './bar.js'
import type { LiveView, LiveViewOptions, Screen } from './live-view.js'
import type { Paint } from './paint.js'
import { Progress } from './progress.js'
import { cut, plain } from './text.js'
import { treeLines } from './tree-lines.js'

const REDRAW_MS = 100
const NAMES = 13
/** Also where nobody is asked: a terminal of no size is one of this. */
const DEFAULT_SIZE = { columns: 80, rows: 24 }
/** The terminal shows what comes between these at once; those that do not know them ignore them. */
const TOGETHER = '\x1b[?2026h'
const APART = '\x1b[?2026l'
const HIDE_CURSOR = '\x1b[?25l'
const SHOW_CURSOR = '\x1b[?25h'

/** For a terminal: what was drawn is drawn over. */
export class DrawnView<A, O> implements LiveView<A, O> {
  readonly #progress: Progress<A, O>
  readonly #stream: Screen
  readonly #paint: Paint
  readonly #title: string
  readonly #timer: NodeJS.Timeout
  /** Lines of the last drawing, above the cursor. */
  #drawn = 0
  #notes: string[] = []

  constructor(options: LiveViewOptions<A, O>, stream: Screen, paint: Paint) {
    this.#progress = new Progress(options)
    this.#stream = stream
    this.#paint = paint
    this.#title = plain(options.title ?? 'search')
    this.#timer = setInterval(() => this.#draw(), REDRAW_MS)
    this.#timer.unref()
    stream.on('resize', this.#onResize)
    process.on('exit', this.#onExit)
    stream.write(HIDE_CURSOR)
  }

  readonly onEvent = (event: SearchEvent<A, O>): void => {
    this.#progress.take(event)
    if (event.type === 'interrupted') this.note(`${event.id} waits: ${plain(event.reason)}`)
  }

  note(message: string): void {
    this.#notes = [...this.#notes.slice(-2), message]
  }

  close(): void {
    clearInterval(this.#timer)
    this.#stream.off('resize', this.#onResize)
    process.off('exit', this.#onExit)
    this.#draw(Number.POSITIVE_INFINITY)
    this.#stream.write(SHOW_CURSOR)
  }

  readonly #onExit = (): void => {
    this.#stream.write(SHOW_CURSOR)
  }

  /** Lines that the terminal has broken anew cannot be counted. */
  readonly #onResize = (): void => {
    this.#stream.write('\x1b[2J\x1b[H')
    this.#drawn = 0
    this.#draw()
  }

  #draw(rows: number = this.#stream.rows || DEFAULT_SIZE.rows): void {
    const width = (this.#stream.columns || DEFAULT_SIZE.columns) - 1
    const lines = this.#lines(width, rows - 1)
    const back = this.#drawn > 0 ? `\x1b[${this.#drawn}A` : ''
    const text = lines.map((line) => `${line}\x1b[K\n`).join('')
    this.#stream.write(`${TOGETHER}\r${back}${text}\x1b[J${APART}`)
    this.#drawn = lines.length
  }

  #lines(width: number, rows: number): string[] {
    const paint = this.#paint
    const { times, done, expansions } = this.#progress
    const title = cut(this.#title, width / 2)
    const top = [headLine({ title, part: done / expansions, text: times, width, paint }), '']
    const bottom = [
      '',
      ...this.#progress.summary.map(
        ([name, text]) => paint('dim', name.padEnd(NAMES)) + cut(text, width - NAMES),
      ),
      ...this.#notes.map((note) => cut(note, width)),
    ]
    const tree = treeLines(this.#progress.branches, {
      width,
      height: Math.max(2, rows - top.length - bottom.length),
      paint,
      label: (branch) => this.#progress.label(branch),
    })
    return [...top, ...tree, ...bottom].slice(0, rows)
  }
}
