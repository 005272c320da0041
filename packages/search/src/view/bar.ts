/** How far long work is: drawn over itself on a terminal, elsewhere a line now and then. */
import type { Screen } from './live-view.js'
import { type Paint, paintFor } from './paint.js'
import { cut, widthOf } from './text.js'

export interface ProgressBarOptions {
  readonly title: string
  readonly total: number
  /** Default: standard output. */
  readonly stream?: Screen
  /** NO_COLOR and TERM are heeded. Default: that of this process. */
  readonly env?: NodeJS.ProcessEnv
}

export interface ProgressBar {
  /** So many of them are done. */
  update(done: number): void
  close(): void
}

/** In cells. */
const LONGEST = 40
/** Lines that a file gets, about. */
const LINES = 4

export function progressBar({
  title,
  total,
  stream = process.stdout,
  env = process.env,
}: ProgressBarOptions): ProgressBar {
  const started = performance.now()
  const paint = paintFor(!env.NO_COLOR)
  const isDrawn = Boolean(stream.isTTY) && env.TERM !== 'dumb'
  let told = 0
  return {
    update(done) {
      const elapsedMs = performance.now() - started
      const leftMs = done > 0 ? (elapsedMs / done) * (total - done) : undefined
      const text = `${done} of ${total}, ${timesOf(elapsedMs, leftMs)}`
      if (isDrawn) {
        const width = (stream.columns || 80) - 1
        stream.write(`\r${headLine({ title, part: done / total, text, width, paint })}\x1b[K`)
      } else if (done === total || (done - told) * LINES >= total) {
        told = done
        stream.write(`${title}: ${text}\n`)
      }
    },
    close() {
      if (isDrawn) stream.write('\r\x1b[K')
    },
  }
}

interface HeadLine {
  readonly title: string
  /** From 0 to 1. */
  readonly part: number
  readonly text: string
  /** In cells. */
  readonly width: number
  readonly paint: Paint
}

/** A title, a bar as long as there is room for, and what there is to say of it. */
export function headLine({ title, part, text, width, paint }: HeadLine): string {
  const room = Math.max(0, width - widthOf(title) - 2)
  const said = cut(text, room)
  const cells = Math.min(LONGEST, room - widthOf(said) - 2)
  const drawn = cells > 0 ? `${paint('cyan', bar(part, cells))}  ` : ''
  return `${paint('bold', title)}  ${drawn}${said}`
}

export function bar(part: number, cells: number): string {
  const eighths = Math.round(Math.min(1, Math.max(0, part)) * cells * 8)
  const rest = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths % 8] ?? ''
  return ('█'.repeat(Math.floor(eighths / 8)) + rest).padEnd(cells, '·')
}

/** `atMost` where it may be over sooner. */
export function timesOf(elapsedMs: number, leftMs: number | undefined, atMost = ''): string {
  const left = leftMs === undefined || leftMs === 0 ? '' : `, ${atMost || 'about '}${seconds(leftMs)} to go`
  return seconds(elapsedMs) + left
}

function seconds(ms: number): string {
  const whole = Math.round(ms / 1000)
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`
}
