/** What a cost grows with. */
import type { Series, Unit } from '../../results.js'
import { fit, median } from '../../statistics.js'
import type { Context, Section } from '../context.js'
import { type Markup, markup } from '../markup.js'
import { type PhaseTime, phasesOf } from '../phases.js'
import { type PlotLine, plotMarkup } from '../plot.js'
import { change, digits, plural, quantity, single } from '../quantities.js'
import { distinct, label, summaryOf, told } from '../series.js'
import { NOTHING, type Table, tableMarkup } from '../table.js'
import { countCells, seriesTable, summaryCells, titleOf } from './series-table.js'

const GROUPS: Readonly<Record<string, string>> = {
  memory: 'Memory that processes hold',
  dirty: 'Memory that was changed since the last checkpoint',
  'open-files': 'Files that are open for reading',
  'open-files-writing': 'Files that are open for writing',
  processes: 'Processes',
  threads: 'Threads',
  depth: 'Layers of a chain',
  'tree-size': 'Files in the tree',
  written: 'Bytes written since the last checkpoint',
}

/** More would not be told apart. */
const MOST_LINES = 6

const UNITS: readonly Unit[] = ['ms', 'bytes', 'x']
const WHAT: Readonly<Record<Unit, string>> = { ms: 'Time', bytes: 'Size', x: 'Share' }

interface Line {
  readonly name: string
  readonly unit: Unit
  /** In the order of x. */
  readonly at: readonly { readonly x: number; readonly series: Series }[]
}

export const growth: Section = {
  id: 'growth',
  title: 'What costs grow with',
  groups: Object.keys(GROUPS),
  content(context): Markup | undefined {
    const groups = Object.entries(GROUPS).filter(([group]) => context.in(group).length > 0)
    if (groups.length === 0) return undefined
    return markup`<p>Points are medians, whiskers reach to the 95th percentile, faint dots are all samples in the order in which they were taken. A slope is that of the line through the medians which few outliers do not bend (Theil and Sen).</p><div class="plots">${groups.map(
      ([group, title]) =>
        markup`<div><h3 id="growth-${group}">${title}</h3>${growthMarkup(context.in(group), `growth-${group}`)}</div>`,
    )}</div>`
  },
}

/** Of series that differ in one number and in what else there is. */
export function growthMarkup(series: readonly Series[], id: string): Markup {
  const x = variedIn(series)
  if (x === undefined) return tableMarkup(seriesTable(series))
  const lines = linesOf(series, x)
  const drawn = new Set(lines.flatMap(({ at }) => at.map((one) => one.series)))
  const rest = series.filter((one) => !drawn.has(one))
  const slopes = slopeTable(lines, x)
  return markup`${plots(lines, x, id)}${
    slopes ? tableMarkup(slopes) : undefined
  }<details><summary>all figures</summary>${tableMarkup(pointTable(lines, x))}${lines.map((line) => stepTable(line, x)).map((table) => table && tableMarkup(table))}</details>${
    rest.length > 0 ? tableMarkup(seriesTable(rest)) : undefined
  }`
}

/** The numeric parameter of which there are most values. */
export function variedIn(series: readonly Series[]): string | undefined {
  const names = distinct(
    series.flatMap(({ parameters }) => Object.entries(parameters).filter(([, value]) => isNumber(value))),
    ([name]) => name,
  )
  const valuesOf = (name: string): number =>
    new Set(series.map(({ parameters }) => parameters[name]).filter(isNumber)).size
  return names
    .filter((name) => valuesOf(name) > 1)
    .toSorted((one, other) => valuesOf(other) - valuesOf(one))[0]
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number'
}

function linesOf(series: readonly Series[], x: string): Line[] {
  const known = series.filter(({ parameters }) => isNumber(parameters[x]))
  const keyOf = (one: Series): string => JSON.stringify([label(one, x), one.unit])
  return distinct(known, keyOf).map((key) => {
    const its = known.filter((one) => keyOf(one) === key)
    const at = its.map((one) => ({ x: Number(one.parameters[x]), series: one }))
    const [name, unit] = JSON.parse(key) as [string, Unit]
    return { name, unit, at: at.toSorted((a, b) => a.x - b.x) }
  })
}

function plots(lines: readonly Line[], x: string, id: string): Markup[] {
  return UNITS.flatMap((unit) => {
    const its = lines.filter((line) => line.unit === unit).flatMap(plotLine)
    const pages = Math.ceil(its.length / MOST_LINES)
    const each = Math.ceil(its.length / pages)
    return Array.from({ length: pages }, (_, page) => {
      const some = its.slice(page * each, (page + 1) * each)
      const title = `${WHAT[unit]} over ${plural(x)}${pages > 1 ? `, ${page + 1} of ${pages}` : ''}`
      return plotMarkup({ id: `${id}-${unit}-${page}`, title, x: plural(x), unit, lines: some })
    }).flatMap((one) => (one ? [one] : []))
  })
}

/** One point makes no line; it is among all figures. */
function plotLine({ name, at }: Line): PlotLine[] {
  const points = at.flatMap(({ x, series }) => {
    const summary = summaryOf(series)
    return summary ? [{ x, median: summary.median, p95: summary.p95, samples: series.samples }] : []
  })
  return points.length > 1 ? [{ name, points }] : []
}

function pointTable(lines: readonly Line[], x: string): Table {
  return {
    head: ['', plural(x), 'median', 'p95', 'p99', 'n', 'failed'],
    words: 1,
    rows: lines.flatMap(({ name, at }) =>
      at.map(({ x: value, series }) => ({
        of: series,
        cells: [
          { text: name, of: series },
          value.toLocaleString('en'),
          ...summaryCells(series),
          ...countCells(series),
        ],
      })),
    ),
  }
}

/** Which of its steps grow. Undefined where it was not told of any. */
function stepTable({ name, at }: Line, x: string): Table | undefined {
  const told = at.flatMap(({ x: value, series }) => {
    const phases = phasesOf(series)
    return phases ? [{ value, times: [...phases.steps, ...phases.beside] }] : []
  })
  const names = distinct(
    told.flatMap(({ times }) => times.filter(({ median: ms }) => ms > 0)),
    (time) => time.name,
  )
  if (told.length === 0 || names.length === 0) return undefined
  const cell = (times: readonly PhaseTime[], step: string): string => {
    const ms = times.find((time) => time.name === step)?.median
    return ms === undefined ? NOTHING : quantity(ms, 'ms')
  }
  return {
    title: `${titleOf(name)}: medians of the steps it tells of, at so many ${plural(x)}`,
    head: ['step', ...told.map(({ value }) => value.toLocaleString('en'))],
    words: 1,
    rows: names.map((step) => ({ cells: [step, ...told.map(({ times }) => cell(times, step))] })),
  }
}

/** Undefined where no line has two points. */
function slopeTable(lines: readonly Line[], x: string, title?: string): Table | undefined {
  const rows = lines.flatMap((line) => {
    const points = line.at.filter(({ series }) => series.samples.length > 0)
    const [first, last] = [points[0], points.at(-1)]
    const slope = fit(points.map((one) => [one.x, median(one.series.samples)]))?.slope
    if (!first || !last || slope === undefined) return []
    const [from, to] = [median(first.series.samples), median(last.series.samples)]
    return [
      {
        cells: [
          line.name,
          `${change(slope, line.unit)} per ${single(x)}`,
          { text: told(first.series, from), of: first.series, small: `at ${first.x.toLocaleString('en')}` },
          { text: told(last.series, to), of: last.series, small: `at ${last.x.toLocaleString('en')}` },
          from === 0 ? NOTHING : `${digits(to / from)} ×`,
        ],
      },
    ]
  })
  if (rows.length === 0) return undefined
  return {
    ...(title === undefined ? {} : { title }),
    head: ['', 'slope', 'from', 'to', 'to ÷ from'],
    words: 1,
    rows,
  }
}

export function slopeTables(context: Context): Table[] {
  return Object.entries(GROUPS).flatMap(([group, title]) => {
    const series = context.in(group)
    const x = variedIn(series)
    const table = x === undefined ? undefined : slopeTable(linesOf(series, x), x, title)
    return table ? [table] : []
  })
}
