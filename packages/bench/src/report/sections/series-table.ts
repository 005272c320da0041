/** A row for each series. */
import { nameOf, type Series } from '../../results.js'
import { median } from '../../statistics.js'
import { digits } from '../quantities.js'
import { BARE, label, operationName, summaryOf, told } from '../series.js'
import { type Cell, NOTHING, type Row, type Table } from '../table.js'

/** How often it worked and how often not. */
export function countCells({ samples, failures }: Series): Cell[] {
  return [{ text: String(samples.length) }, failedCell(failures.length)]
}

export function failedCell(failed: number): Cell {
  return failed > 0 ? { text: String(failed), tone: 'bad' } : { text: '0', tone: 'soft' }
}

export function summaryCells(series: Series): string[] {
  const summary = summaryOf(series)
  if (!summary) return [NOTHING, NOTHING, NOTHING]
  return [summary.median, summary.p95, summary.p99].map((value) => told(series, value))
}

export function medianCell(series: Series | undefined): Cell {
  const summary = series && summaryOf(series)
  if (!series) return { text: NOTHING }
  if (!summary) return { text: 'failed', of: series, tone: 'bad' }
  return { text: told(series, summary.median), of: series }
}

/** With what no sandbox can beat, where that was measured in turns with them. */
export function seriesTable(series: readonly Series[], title?: string): Table {
  const limits = series.filter(({ system, samples }) => system === BARE && samples.length > 0)
  const rows = series.map(
    (one): Row => ({
      of: one,
      cells: [
        { text: label(one), of: one },
        ...summaryCells(one),
        ...countCells(one),
        ...(limits.length > 0 ? [besideLimit(one, limits)] : []),
      ],
    }),
  )
  return {
    ...(title === undefined ? {} : { title }),
    head: ['', 'median', 'p95', 'p99', 'n', 'failed', ...(limits.length > 0 ? ['beside the limit'] : [])],
    words: 1,
    rows,
  }
}

/** How many times what cannot be beaten it takes. */
function besideLimit(one: Series, limits: readonly Series[]): Cell {
  const limit = limitOf(one, limits)
  if (!limit || one.samples.length === 0) return { text: NOTHING, tone: 'soft' }
  const ratio = median(one.samples) / (limit.times * median(limit.series.samples))
  const { operation } = limit.series
  const name = limit.times === 1 ? `bare ${operation}` : `${limit.times} bare ${operation}s`
  return { text: `${digits(ratio)} × ${name}`, of: limit.series }
}

interface Limit {
  readonly series: Series
  readonly times: number
}

/** The same done bare; else bare forks, of which each copy of processes needs one. */
function limitOf(one: Series, limits: readonly Series[]): Limit | undefined {
  if (one.system === BARE || one.unit !== 'ms') return undefined
  const like = limits.filter(({ parameters }) => sameParameters(parameters, one.parameters))
  const same = like.find(({ operation }) => operation === one.operation)
  if (same) return { series: same, times: 1 }
  if (!/^(checkpoint(?!-unchanged)|rollback|restore|fork-\d+)/.test(one.operation)) return undefined
  const fork = like.find(({ operation }) => operation === 'fork') ?? limits.find((bare) => isPlainFork(bare))
  return fork && { series: fork, times: Number(/^fork-(\d+)/.exec(one.operation)?.[1] ?? 1) }
}

function isPlainFork({ operation, parameters }: Series): boolean {
  return operation === 'fork' && Object.keys(parameters).length === 0
}

function sameParameters(one: Series['parameters'], other: Series['parameters']): boolean {
  const key = (parameters: Series['parameters']): string => JSON.stringify(Object.entries(parameters).sort())
  return key(one) === key(other)
}

/** All that was measured, with what each sample is. */
export function completeTable(series: readonly Series[]): Table {
  return {
    head: ['series', 'what is in a sample', 'median', 'p95', 'p99', 'least', 'most', 'n', 'failed'],
    words: 2,
    rows: series.map((one) => {
      const summary = summaryOf(one)
      const extremes = summary ? [told(one, summary.least), told(one, summary.most)] : [NOTHING, NOTHING]
      return {
        of: one,
        isAnchor: true,
        cells: [
          { text: nameOf(one) },
          { text: one.timer, tone: 'soft' },
          ...summaryCells(one),
          ...extremes,
          ...countCells(one),
        ],
      }
    }),
  }
}

/** A row for each of what is compared, a column for each that does it. */
export interface Pivot {
  readonly title: string
  /** What the first column holds. */
  readonly rows: string
  readonly series: readonly Series[]
  rowOf(series: Series): string
  columnOf(series: Series): string
  readonly note?: string
}

export function pivotTable({ title, rows, series, rowOf, columnOf, note }: Pivot): Table {
  const columns = [...new Set(series.map(columnOf))]
  const names = [...new Set(series.map(rowOf))]
  return {
    title,
    head: [rows, ...columns],
    words: 1,
    rows: names.map((name) => ({
      cells: [
        name,
        ...columns.map((column) => {
          const found = series.find((one) => rowOf(one) === name && columnOf(one) === column)
          return found ? { ...medianCell(found), small: countNote(found) } : NOTHING
        }),
      ],
    })),
    ...(note === undefined ? {} : { note }),
  }
}

export function countNote({ samples, failures }: Pick<Series, 'samples' | 'failures'>): string {
  return `n ${samples.length}${failures.length > 0 ? `, ${failures.length} failed` : ''}`
}

export function titleOf(operation: string): string {
  const name = operationName(operation)
  return name.charAt(0).toUpperCase() + name.slice(1)
}
