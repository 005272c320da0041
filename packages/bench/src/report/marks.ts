/** Lines are told apart by colour, by the shape of their points and by their dashes. Okabe's and Ito's colours, which all eyes tell apart. */
import { type Markup, markup } from './markup.js'

/** As many as there are colours in the style, `--c0` and on. */
export const COLOURS = 7

const SHAPES: readonly ((x: number, y: number, r: number) => string)[] = [
  (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
  (x, y, r) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}Z`,
  (x, y, r) => `M${x} ${y - 1.3 * r}L${x + 1.2 * r} ${y + r}H${x - 1.2 * r}Z`,
  (x, y, r) => `M${x} ${y - 1.4 * r}L${x + 1.4 * r} ${y}L${x} ${y + 1.4 * r}L${x - 1.4 * r} ${y}Z`,
  (x, y, r) => `M${x} ${y + 1.3 * r}L${x + 1.2 * r} ${y - r}H${x - 1.2 * r}Z`,
  (x, y, r) =>
    `M${x - r} ${y - 1.5 * r}H${x + r}L${x + 1.7 * r} ${y}L${x + r} ${y + 1.5 * r}H${x - r}L${x - 1.7 * r} ${y}Z`,
  (x, y, r) => {
    const [a, b] = [0.45 * r, 1.35 * r]
    return `M${x - a} ${y - b}h${2 * a}v${b - a}h${b - a}v${2 * a}h${a - b}v${b - a}h${-2 * a}v${a - b}h${a - b}v${-2 * a}h${b - a}Z`
  },
]

/** The points of two lines of the same number look alike. */
export function point(line: number, x: number, y: number, radius = 4): Markup {
  const shape = SHAPES[line % SHAPES.length]?.(short(x), short(y), radius)
  return markup`<path class="point c${line % COLOURS}" d="${shape}"/>`
}

/** Coordinates need no more than this. */
export function short(value: number): number {
  return Number(value.toFixed(1))
}

export interface LegendEntry {
  readonly line: number
  readonly name: string
}

export function legend(entries: readonly LegendEntry[]): Markup {
  const items = entries.map(
    ({ line, name }) =>
      markup`<li><svg width="30" height="14" aria-hidden="true"><path class="line c${line % COLOURS} d${line % 3}" d="M1 7H29"/>${point(line, 15, 7)}</svg>${name}</li>`,
  )
  return markup`<ul class="legend">${items}</ul>`
}
