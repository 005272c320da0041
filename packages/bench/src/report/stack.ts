/** One bar of steps that follow each other, each as long as it took. */

import { COLOURS, short } from './marks.js'
import { type Markup, markup } from './markup.js'
import { quantity } from './quantities.js'

export interface Segment {
  /** What stands in it, and beside its name in the table. */
  readonly mark: string
  readonly name: string
  readonly ms: number
  readonly isStill: boolean
  /** Nobody has told what was done in it. */
  readonly isRest?: boolean
}

export interface Stack {
  readonly id: string
  readonly title: string
  readonly segments: readonly Segment[]
}

const WIDTH = 1000
const EDGE = 1
const TOP = 4
const BAR = 30
const BRACKET = 28
/** Narrower ones have no mark in them. */
const MARK_FROM = 16

export function stackMarkup({ id, title, segments }: Stack): Markup {
  const total = segments.reduce((sum, { ms }) => sum + ms, 0)
  const scale = (WIDTH - 2 * EDGE) / (total || 1)
  let left = EDGE
  const placed = segments.map((segment, index) => {
    const place = { segment, index, left, width: segment.ms * scale }
    left += place.width
    return place
  })
  const height = 2 * TOP + BAR + (segments.some(({ isStill }) => isStill) ? BRACKET : 0)
  const told = segments.map(({ name, ms }) => `${name} ${quantity(ms, 'ms')}`).join(', ')
  return markup`<div class="picture"><svg class="stack" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-labelledby="${id}-t ${id}-d"><title id="${id}-t">${title}: ${quantity(total, 'ms')}</title><desc id="${id}-d">One after the other: ${told}.</desc>${placed.map(bar)}${bracket(placed)}</svg></div>`
}

interface Placed {
  readonly segment: Segment
  readonly index: number
  readonly left: number
  readonly width: number
}

function bar({ segment, index, left, width }: Placed): Markup | undefined {
  if (width <= 0) return undefined
  const fill = segment.isRest ? 'rest' : `f${index % COLOURS}`
  const mark =
    width < MARK_FROM
      ? undefined
      : markup`<text class="mark middle ${segment.isRest ? 'rest' : `on${index % COLOURS}`}" x="${short(left + width / 2)}" y="${TOP + BAR / 2 + 5}">${segment.mark}</text>`
  return markup`<g><title>${segment.name}: ${quantity(segment.ms, 'ms')}</title><rect class="${fill}" x="${left.toFixed(2)}" y="${TOP}" width="${width.toFixed(2)}" height="${BAR}"/>${mark}</g>`
}

/** Under all in which processes stand still. */
function bracket(placed: readonly Placed[]): Markup | undefined {
  const still = placed.filter(({ segment }) => segment.isStill)
  const [first, last] = [still[0], still.at(-1)]
  if (!first || !last) return undefined
  const [from, to] = [short(first.left), short(last.left + last.width)]
  const [anchor, x] =
    from < WIDTH / 3 ? ['', from] : to > (WIDTH * 2) / 3 ? ['end', to] : ['middle', short((from + to) / 2)]
  const y = TOP + BAR + 4
  return markup`<path class="bracket" d="M${from} ${y}v4H${to}v-4"/><text class="still ${anchor}" x="${x}" y="${y + 18}">processes stand still</text>`
}

export function swatch({ mark, isRest }: Segment, index: number): Markup {
  return markup`<i class="swatch ${isRest ? 'rest' : `f${index % COLOURS}`}">${mark}</i>`
}
