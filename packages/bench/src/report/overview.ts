/** The one picture: what it takes to keep a worker and to bring it back, of all who can. Stands alone, in the light and in the dark. */
import type { Results, Series } from '../results.js'
import { median } from '../statistics.js'
import { type Axis, logAxis } from './axis.js'
import { contextOf } from './context.js'
import { type Events, eventsOf, ofTheWorker } from './events.js'
import { short } from './marks.js'
import { type Markup, markup } from './markup.js'
import { digits, quantity, tick } from './quantities.js'
import { BARE, bareOf, DELTABOX, systemName } from './series.js'

const WIDTH = 760
const BARS_FROM = 200
const BARS_TO = 600
const ROWS_FROM = 104
const BAR = 16
const BAR_GAP = 3
const ROW_GAP = 15
const AXIS_ROOM = 34
const LINE = 17

const STYLE = `
.overview-picture{font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;font-variant-numeric:tabular-nums;--page:#fff;--edge:#d8dee6;--ink:#1b2230;--soft:#5d687a;--grid:#e6eaf0;--own:#0f766e;--own-light:#99d5ce;--other:#8592a6;--other-light:#dde2ea;--limit:#b45309}
@media(prefers-color-scheme:dark){.overview-picture{--page:#0f141b;--edge:#2b3440;--ink:#e6e9ef;--soft:#9aa6b8;--grid:#232c38;--own:#2dd4bf;--own-light:#17574f;--other:#8a97ab;--other-light:#303a49;--limit:#f5a742}}
.overview-picture text{fill:var(--ink);font-size:14px}
.overview-picture .head{font-size:19px;font-weight:650}
.overview-picture .soft{fill:var(--soft);font-size:12.5px}
.overview-picture .own-name{font-weight:650}
.overview-picture .ratio{fill:var(--soft)}
.overview-picture .page{fill:var(--page);stroke:var(--edge)}
.overview-picture .grid{stroke:var(--grid)}
.overview-picture .limit-line{stroke:var(--limit);stroke-width:1.5;stroke-dasharray:4 4}
.overview-picture .limit{fill:var(--limit)}
.overview-picture .checkpoint{fill:var(--other);stroke:var(--other)}
.overview-picture .restore{fill:var(--other-light);stroke:var(--other)}
.overview-picture .own .checkpoint{fill:var(--own);stroke:var(--own)}
.overview-picture .own .restore{fill:var(--own-light);stroke:var(--own)}
`

interface Bar {
  readonly kind: 'checkpoint' | 'restore' | 'limit'
  readonly ms: number | undefined
  /** How many times DeltaBox’s. */
  readonly ratio?: number | undefined
}

interface BarRow {
  readonly name: string
  readonly isOwn: boolean
  readonly bars: readonly Bar[]
}

export function overviewSvg(results: Results): string {
  return `${overview(results).markup}\n`
}

export function overview(results: Results): Markup {
  const rows = rowsOf(results)
  const times = rows.flatMap(({ bars }) => bars.flatMap(({ ms }) => (ms === undefined ? [] : [ms])))
  if (times.length === 0) return frame('Nothing of this was measured.', ROWS_FROM, markup``)
  // The shortest bar is long enough to be seen.
  const axis = logAxis(10 ** Math.floor(Math.log10(Math.min(...times) / 1.5)), Math.max(...times))
  const heights = rows.map(({ bars }) => bars.length * (BAR + BAR_GAP) + ROW_GAP)
  const floor = ROWS_FROM + heights.reduce((sum, one) => sum + one, 0)
  const tops = heights.map((_, at) => ROWS_FROM + heights.slice(0, at).reduce((sum, one) => sum + one, 0))
  const feet = footnotes(results, rows)
  const limit = rows.flatMap(({ bars }) => bars).find(({ kind }) => kind === 'limit')?.ms
  return frame(
    told(rows),
    floor + AXIS_ROOM + feet.length * LINE + 6,
    markup`${legend()}${grid(axis, floor)}${
      limit === undefined
        ? undefined
        : markup`<path class="limit-line" d="M${left(axis, limit)} ${ROWS_FROM - 6}V${floor - 4}"/>`
    }${rows.map((row, index) => rowMarkup(row, tops[index] ?? 0, axis))}${feet.map(
      (text, index) =>
        markup`<text class="soft" x="20" y="${floor + AXIS_ROOM + 4 + index * LINE}">${text}</text>`,
    )}`,
  )
}

function frame(description: string, height: number, inner: Markup): Markup {
  return markup`<svg class="overview-picture" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-labelledby="overview-t overview-d"><title id="overview-t">Checkpoint and restore of a 50 MB Python worker</title><desc id="overview-d">${description}</desc><style>${{ markup: STYLE }}</style><rect class="page" x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="10"/><text class="head" x="20" y="34">Checkpoint and restore of a 50 MB Python worker</text><text class="soft" x="20" y="56">Median time on a logarithmic scale: every line is ten times the one before. Shorter is better.</text>${inner}</svg>`
}

function rowsOf(results: Results): BarRow[] {
  const { in: inGroups } = contextOf(results)
  const series = ofTheWorker(inGroups('baselines'))
  const events = eventsOf(series).filter(({ system }) => system !== BARE)
  const own = events.find(({ system }) => system === DELTABOX)
  const limit = bareOf([...series, ...inGroups('operations')], 'fork')
  const rows = events.map((one) => ({
    name: systemName(one.system),
    isOwn: one === own,
    bars: [bar('checkpoint', one, own), bar('restore', one, own)].flat(),
  }))
  const limitRow: BarRow = {
    name: 'bare fork()',
    isOwn: false,
    bars: limit ? [{ kind: 'limit', ms: median(limit.samples) }] : [],
  }
  return limit && events.length > 0 ? [limitRow, ...rows] : rows
}

function bar(kind: 'checkpoint' | 'restore', one: Events, own: Events | undefined): Bar[] {
  const series = one[kind]
  if (!series) return []
  const ms = medianOf(series)
  const ours = medianOf(own?.[kind])
  return [{ kind, ms, ratio: one === own || !ms || !ours ? undefined : ms / ours }]
}

function medianOf(series: Series | undefined): number | undefined {
  return series && series.samples.length > 0 ? median(series.samples) : undefined
}

function left(axis: Axis, ms: number): number {
  return short(BARS_FROM + axis.at(ms) * (BARS_TO - BARS_FROM))
}

function rowMarkup({ name, isOwn, bars }: BarRow, top: number, axis: Axis): Markup {
  const middle = top + (bars.length * (BAR + BAR_GAP) - BAR_GAP) / 2 + 5
  return markup`<g class="${isOwn ? 'own' : 'another'}"><text class="${isOwn ? 'own-name' : 'name'}" x="20" y="${middle}">${name}</text>${bars.map(
    (one, index) => barMarkup(one, top + index * (BAR + BAR_GAP), axis),
  )}</g>`
}

function barMarkup({ kind, ms, ratio }: Bar, top: number, axis: Axis): Markup {
  const text = (x: number, inner: Markup): Markup =>
    markup`<text x="${x}" y="${top + BAR - 3}">${inner}</text>`
  if (ms === undefined) return text(BARS_FROM + 4, markup`${kind} failed`)
  const end = Math.max(BARS_FROM + 2, left(axis, ms))
  const times =
    ratio === undefined ? undefined : markup`<tspan class="ratio" dx="8">${digits(ratio)} ×</tspan>`
  return markup`<rect class="${kind}" x="${BARS_FROM}" y="${top}" width="${short(end - BARS_FROM)}" height="${BAR}"/>${text(
    end + 7,
    markup`${quantity(ms, 'ms')}${times}`,
  )}`
}

function grid(axis: Axis, floor: number): Markup[] {
  return axis.ticks.map((ms) => {
    const x = left(axis, ms)
    return markup`<path class="grid" d="M${x} ${ROWS_FROM - 6}V${floor - 4}"/><text class="soft" text-anchor="middle" x="${x}" y="${floor + 12}">${tick(ms, 'ms')}</text>`
  })
}

function legend(): Markup {
  return markup`<rect class="checkpoint" x="20" y="72" width="22" height="12"/><text class="soft" x="49" y="83">checkpoint, call to return</text><rect class="restore" x="216" y="72" width="22" height="12"/><text class="soft" x="245" y="83">restore, until the program answers</text><text class="soft" x="${WIDTH - 20}" y="83" text-anchor="end">× times DeltaBox</text>`
}

function told(rows: readonly BarRow[]): string {
  const all = rows.map(({ name, bars }) => {
    const times = bars.map(({ kind, ms }) => {
      const time = ms === undefined ? 'failed' : quantity(ms, 'ms')
      return kind === 'limit' ? time : `${kind} ${time}`
    })
    return `${name}: ${times.join(', ')}`
  })
  return `Medians. ${all.join('; ')}.`
}

function footnotes({ machine, deltabox, started, size }: Results, rows: readonly BarRow[]): string[] {
  const restarts = rows.some(({ name }) => name.endsWith('restart'))
  return [
    ...(restarts ? ['restart: the program begins anew, and what it held in memory is gone.'] : []),
    `${machine.cpus} × ${cut(machine.cpu, 44)}, Linux ${cut(machine.kernel, 20)}, ${machine.fileSystem}`,
    `DeltaBox ${deltabox}, ${started.slice(0, 10)}${size === 'quick' ? '; a quick run: few samples' : ''}`,
  ]
}

function cut(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text
}
