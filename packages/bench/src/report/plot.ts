/** Lines through medians, all samples as dots around them. */
import type { Unit } from '../results.js'
import { type Axis, axisOf, axisThrough } from './axis.js'
import { COLOURS, legend, point, short } from './marks.js'
import { type Markup, markup } from './markup.js'
import { quantity, tick } from './quantities.js'

interface PlotPoint {
  readonly x: number
  readonly median: number
  readonly p95: number
  readonly samples: readonly number[]
}

export interface PlotLine {
  readonly name: string
  /** In the order of x. */
  readonly points: readonly PlotPoint[]
}

export interface Plot {
  readonly id: string
  readonly title: string
  readonly x: string
  readonly unit: Unit
  /** Which colours and shapes they have: one more for each. */
  readonly lines: readonly PlotLine[]
  /** Through points that are samples themselves: no dots, no points. */
  readonly isTrace?: boolean
}

const WIDTH = 620
const HEIGHT = 330
const LEFT = 66
const RIGHT = 18
const TOP = 28
const BOTTOM = 48
/** Dots are also beside their points. */
const PAD = 14
/** So many values of x have a tick each. */
const MOST_TICKS = 9
/** Closer to another there is no room for what a tick is called. */
const TICK_ROOM = 38
/** Samples that are so much more than the 95th percentiles would press all others to the ground. */
const FAR = 1.6

interface Frame {
  readonly xAxis: Axis
  readonly yAxis: Axis
  /** What is above is drawn at the edge. */
  readonly most: number
  left(x: number): number
  top(y: number): number
}

function frameOf({ lines, isTrace }: Plot): Frame {
  const points = lines.flatMap((line) => line.points)
  const high = Math.max(...points.map(({ p95, median }) => Math.max(p95, median)))
  const samples = points.flatMap((one) => one.samples).filter((sample) => sample <= high * FAR)
  const values = [...points.flatMap(({ median, p95 }) => [median, p95]), ...samples]
  const xs = points.map(({ x }) => x)
  const xAxis =
    new Set(xs).size <= MOST_TICKS ? axisThrough(xs) : axisOf(xs, { ticks: 6, isLinear: isTrace === true })
  const yAxis = axisOf(values, { fromZero: true })
  return {
    xAxis,
    yAxis,
    most: yAxis.end,
    left: (x) => short(LEFT + PAD + xAxis.at(x) * (WIDTH - LEFT - RIGHT - 2 * PAD)),
    top: (y) => short(HEIGHT - BOTTOM - yAxis.at(y) * (HEIGHT - BOTTOM - TOP)),
  }
}

/** Nothing where there is no line to draw. */
export function plotMarkup(plot: Plot): Markup | undefined {
  const values = new Set(plot.lines.flatMap(({ points }) => points.map(({ x }) => x)))
  if (values.size < 2) return undefined
  const frame = frameOf(plot)
  const { id, title, lines } = plot
  const far = lines.flatMap(({ points }) =>
    points.flatMap(({ samples }) => samples.filter((sample) => sample > frame.most)),
  )
  return markup`<figure><figcaption>${title}</figcaption><div class="picture"><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-labelledby="${id}-t ${id}-d"><title id="${id}-t">${title}</title><desc id="${id}-d">${description(plot)}</desc>${axes(plot, frame)}${lines.map((line, index) => lineMarkup(line, index, frame, plot))}</svg></div>${legend(
    lines.map(({ name }, line) => ({ line, name })),
  )}${far.length === 0 ? undefined : markup`<p class="note">△ ${farNote(far, plot.unit)}</p>`}</figure>\n`
}

function farNote(far: readonly number[], unit: Unit): string {
  const most = quantity(Math.max(...far), unit)
  return far.length === 1
    ? `One sample lies above the picture: ${most}.`
    : `${far.length} samples lie above the picture, up to ${most}.`
}

function description({ x, unit, lines, isTrace }: Plot): string {
  const told = lines.map(({ name, points }) => {
    const [first, last] = [points[0], points.at(-1)]
    if (!first || !last) return name
    return `${name}: ${quantity(first.median, unit)} at ${first.x.toLocaleString('en')}, ${quantity(last.median, unit)} at ${last.x.toLocaleString('en')}`
  })
  return `${isTrace ? 'Samples' : 'Medians'} over ${x}. ${told.join('; ')}.`
}

function axes({ x, unit }: Plot, { xAxis, yAxis, left, top }: Frame): Markup {
  const [floor, right] = [HEIGHT - BOTTOM, WIDTH - RIGHT]
  const scale = (axis: Axis): string => (axis.isLog ? ' (logarithmic)' : '')
  const rows = yAxis.ticks.map(
    (value) =>
      markup`<path class="grid" d="M${LEFT} ${top(value)}H${right}"/><text class="tick end" x="${LEFT - 7}" y="${top(value) + 4}">${tick(value, unit)}</text>`,
  )
  const columns = withRoom(xAxis.ticks, left).map(
    (value) =>
      markup`<path class="grid" d="M${left(value)} ${floor}v5"/><text class="tick middle" x="${left(value)}" y="${floor + 19}">${value.toLocaleString('en')}</text>`,
  )
  const gap = xAxis.isLog && xAxis.ticks[0] === 0 ? breakMark((left(0) + left(xAxis.ticks[1] ?? 1)) / 2) : ''
  return markup`${rows}${columns}<path class="axis" d="M${LEFT} ${floor}H${right}"/>${gap}<text class="name middle" x="${(LEFT + right) / 2}" y="${HEIGHT - 8}">${x}${scale(xAxis)}</text>${
    yAxis.isLog ? markup`<text class="name" x="2" y="12">logarithmic</text>` : undefined
  }`
}

/** The last one always. */
function withRoom(ticks: readonly number[], left: Frame['left']): number[] {
  const kept: number[] = []
  for (const value of ticks.toReversed()) {
    const next = kept.at(-1)
    if (next === undefined || left(next) - left(value) >= TICK_ROOM) kept.push(value)
  }
  return kept
}

/** Between zero and what a logarithm knows. */
function breakMark(x: number): Markup {
  const floor = HEIGHT - BOTTOM
  return markup`<path class="gap" d="M${short(x - 3)} ${floor}h6"/><path class="axis" d="M${short(x - 5)} ${floor + 5}l4 -10M${short(x + 1)} ${floor + 5}l4 -10"/>`
}

function lineMarkup(line: PlotLine, index: number, frame: Frame, { isTrace, unit }: Plot): Markup {
  const { left, top } = frame
  const path = line.points.map(({ x, median }) => `${left(x)} ${top(median)}`).join('L')
  const drawn = markup`<path class="line c${index % COLOURS} d${index % 3}" d="M${path}"/>`
  if (isTrace) return markup`<g>${drawn}${traceMarks(line, index, frame)}</g>`
  const points = line.points.map(
    (one) =>
      markup`<g><title>${line.name}, ${one.x.toLocaleString('en')}: median ${quantity(one.median, unit)}, p95 ${quantity(one.p95, unit)}, ${one.samples.length} samples</title><path class="whisker c${index % COLOURS}" d="M${left(one.x)} ${top(one.median)}V${top(one.p95)}m-4 0h8"/>${point(index, left(one.x), top(one.median))}</g>`,
  )
  return markup`<g>${line.points.map((one) => dots(one, index, frame))}${drawn}${points}</g>`
}

/** So many of its shapes, that the line can be told from others. */
const TRACE_MARKS = 5

function traceMarks({ points }: PlotLine, index: number, { left, top }: Frame): Markup[] {
  const step = Math.max(1, Math.ceil((points.length - 1) / TRACE_MARKS))
  return points
    .filter((_, at) => at % step === 0 || at === points.length - 1)
    .map(({ x, median }) => point(index, left(x), top(median), 3.5))
}

/** A little beside one another, in the order in which they were measured. */
function dots({ x, samples }: PlotPoint, index: number, { left, top, most }: Frame): Markup {
  const middle = left(x)
  const path = samples
    .map((sample, at) => {
      const aside = samples.length > 1 ? (at / (samples.length - 1) - 0.5) * 12 : 0
      if (sample > most) return `M${short(middle + aside - 3)} ${TOP + 1}l3 -5l3 5Z`
      return `M${short(middle + aside - 1.6)} ${top(sample)}a1.6 1.6 0 1 0 3.2 0a1.6 1.6 0 1 0 -3.2 0Z`
    })
    .join('')
  return markup`<path class="dots c${index % COLOURS}" d="${path}"/>`
}
