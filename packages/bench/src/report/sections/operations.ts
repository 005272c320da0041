/** What each operation takes, and where its time goes. */
import { nameOf, type Series } from '../../results.js'
import { median } from '../../statistics.js'
import type { Context, Section } from '../context.js'
import { type Markup, markup } from '../markup.js'
import { ELSEWHERE, type Phases, type PhaseTime, phasesOf } from '../phases.js'
import { digits, quantity } from '../quantities.js'
import { BARE, label } from '../series.js'
import { type Segment, stackMarkup, swatch } from '../stack.js'
import { type Cell, NOTHING, type Row, type Table, tableMarkup } from '../table.js'
import { seriesTable } from './series-table.js'

const GROUPS: Readonly<Record<string, string>> = {
  operations: 'Of sandboxes, and of a worker in one that holds 50 MB and changes 2 MB between any two steps',
  images: 'Going back to what is not in memory',
  'files-only': 'Sandboxes in which nothing runs',
}

/** Times before sizes, and what no sandbox can beat at the end. */
function byKind(one: Series, other: Series): number {
  const place = ({ system, unit }: Series): number => (system === BARE ? 2 : unit === 'ms' ? 0 : 1)
  return place(one) - place(other)
}

export function operationTables(context: Context): Table[] {
  return Object.entries(GROUPS)
    .map(([group, title]) => ({ series: context.in(group), title }))
    .filter(({ series }) => series.length > 0)
    .map(({ series, title }) => seriesTable(series.toSorted(byKind), title))
}

export const operations: Section = {
  id: 'operations',
  title: 'Operations',
  groups: Object.keys(GROUPS),
  content(context): Markup | undefined {
    const tables = operationTables(context)
    if (tables.length === 0) return undefined
    return markup`${tables.map(tableMarkup)}${whereTimeGoes(context)}`
  },
}

function whereTimeGoes(context: Context): Markup | undefined {
  const all = context.in(...Object.keys(GROUPS))
  const bars = all.flatMap((series, index) => {
    const phases = phasesOf(withPhases(series, all))
    return phases ? [timeMarkup(series, phases, `time-${index}`)] : []
  })
  if (bars.length === 0) return undefined
  return markup`<h3 id="where-time-goes">Where time goes</h3><p>Medians of the steps that the engine and the daemon tell the time of, one after the other, each bar as wide as its own operation takes. <i>${ELSEWHERE}</i> is what is left of the median from call to return: SDK, HTTP, the rest of the daemon, and the difference between a sum of medians and the median of sums. Steps that are part of another one stand below it in the table and are in no sum.</p>${bars}`
}

/** What a checkpoint tells of its steps is kept once, with how long it blocked. */
function withPhases(series: Series, all: readonly Series[]): Series {
  if (Object.keys(series.phases).length > 0) return series
  const name = nameOf({ ...series, operation: `${series.operation}-blocking` })
  const blocking = all.find((one) => nameOf(one) === name)
  return blocking ? { ...series, phases: blocking.phases } : series
}

function timeMarkup(series: Series, phases: Phases, id: string): Markup {
  const name = `${label(series)} (${series.group})`
  const segments = segmentsOf(phases)
  const [whole] = [median(series.samples)]
  const head = markup`<h4>${name} <span class="figures">${quantity(whole, 'ms')}</span></h4>`
  const table = tableMarkup(phaseTable(series, phases, segments))
  if (phases.elsewhere === undefined) {
    return markup`<div class="time">${head}<p class="note">Its steps take longer than the call: they overlap, or are of several sandboxes that are worked at together. They are not stacked.</p>${table}</div>\n`
  }
  return markup`<div class="time">${head}${stackMarkup({ id, title: name, segments })}${keys(segments)}<details><summary>as a table</summary>${table}</details></div>\n`
}

function segmentsOf({ steps, elsewhere }: Phases): Segment[] {
  const all = steps
    .filter(({ depth, median: ms }) => depth === 0 && ms > 0)
    .map((step, index) => ({
      mark: String(index + 1),
      name: step.name,
      ms: step.median,
      isStill: step.isStill,
    }))
  const rest = { mark: '·', name: ELSEWHERE, ms: elsewhere ?? 0, isStill: false, isRest: true }
  return elsewhere === undefined ? all : [...all, rest]
}

function keys(segments: readonly Segment[]): Markup {
  const items = segments.map(
    (segment, index) =>
      markup`<li>${swatch(segment, index)}${segment.name} <span class="figures">${quantity(segment.ms, 'ms')}</span></li>`,
  )
  return markup`<ul class="legend keys">${items}</ul>`
}

function phaseTable(series: Series, phases: Phases, segments: readonly Segment[]): Table {
  const whole = median(series.samples)
  const none = phases.steps.filter((step) => step.median === 0)
  const rows = phases.steps.filter((step) => step.median > 0).map((step) => phaseRow(step, whole, segments))
  const { elsewhere } = phases
  const rest: Row[] =
    elsewhere === undefined
      ? []
      : [
          {
            cells: [ELSEWHERE, restOf(series), quantity(elsewhere, 'ms'), share(elsewhere, whole), NOTHING],
          },
        ]
  return {
    head: ['step', 'what is done', 'median', 'of the call', 'n'],
    words: 2,
    rows: [...rows, ...rest, ...phases.beside.map((one) => phaseRow(one, whole, []))],
    ...(none.length === 0 ? {} : { note: `Took no time: ${none.map(({ name }) => name).join(', ')}.` }),
  }
}

function restOf({ operation }: Series): string {
  return operation.endsWith('-blocking')
    ? 'between the steps, and where pages are copied ahead'
    : 'SDK, HTTP, the rest of the daemon'
}

function phaseRow(step: PhaseTime, whole: number, segments: readonly Segment[]): Row {
  const at = segments.findIndex((segment) => step.depth === 0 && segment.name === step.name)
  const segment = segments[at]
  const name: Cell = {
    text: step.name,
    depth: step.depth,
    ...(segment ? { swatch: swatch(segment, at) } : {}),
  }
  return {
    cells: [
      name,
      { text: step.about, tone: 'soft' },
      quantity(step.median, 'ms'),
      share(step.median, whole),
      String(step.samples),
    ],
  }
}

function share(ms: number, whole: number): string {
  return whole > 0 ? `${digits((100 * ms) / whole)} %` : NOTHING
}
