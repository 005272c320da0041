/** What is kept, and what it takes, as a search goes on. */
import type { Series } from '../../results.js'
import type { Section } from '../context.js'
import { type Markup, markup } from '../markup.js'
import { plotMarkup } from '../plot.js'
import { DELTABOX, distinct, operationName, parametersName, summaryOf, systemName, told } from '../series.js'
import { NOTHING, type Table, tableMarkup } from '../table.js'
import { countCells, seriesTable, titleOf } from './series-table.js'

const GROUP = 'policies'
const MOST_LINES = 7

export const policies: Section = {
  id: 'policies',
  title: 'Memory and disk under each policy',
  groups: [GROUP],
  content(context): Markup | undefined {
    const series = context.in(GROUP)
    if (series.length === 0) return undefined
    const traces = series.filter(({ unit }) => unit === 'bytes')
    const others = series.filter(({ unit }) => unit !== 'bytes')
    return markup`<p>From left to right in the order in which it was measured, a line for each policy.</p><div class="plots">${distinct(
      traces,
      ({ operation }) => operation,
    ).flatMap((operation, index) =>
      plots(
        operation,
        traces.filter((one) => one.operation === operation),
        `policies-${index}`,
      ),
    )}</div>${traces.length > 0 ? tableMarkup(traceTable(traces)) : undefined}${
      others.length > 0 ? tableMarkup(seriesTable(others, 'Also measured with them')) : undefined
    }`
  },
}

function plots(operation: string, series: readonly Series[], id: string): Markup[] {
  const pages = Math.ceil(series.length / MOST_LINES)
  return Array.from({ length: pages }, (_, page) =>
    plotMarkup({
      id: `${id}-${page}`,
      title: `${titleOf(operation)}${pages > 1 ? `, ${page + 1} of ${pages}` : ''}`,
      x: 'sample',
      unit: 'bytes',
      isTrace: true,
      lines: series.slice(page * MOST_LINES, (page + 1) * MOST_LINES).map((one) => ({
        name: policyOf(one),
        points: one.samples.map((sample, at) => ({ x: at + 1, median: sample, p95: sample, samples: [] })),
      })),
    }),
  ).flatMap((one) => (one ? [one] : []))
}

function policyOf(series: Series): string {
  const system = series.system === DELTABOX ? [] : [systemName(series.system)]
  return [...system, parametersName(series.parameters) || operationName(series.operation)].join(', ')
}

function traceTable(series: readonly Series[]): Table {
  return {
    head: ['', 'policy', 'median', 'most', 'at the end', 'n', 'failed'],
    words: 2,
    rows: series.map((one) => {
      const summary = summaryOf(one)
      const last = one.samples.at(-1)
      return {
        of: one,
        cells: [
          { text: titleOf(one.operation), of: one },
          policyOf(one),
          summary ? told(one, summary.median) : NOTHING,
          summary ? told(one, summary.most) : NOTHING,
          last === undefined ? NOTHING : told(one, last),
          ...countCells(one),
        ],
      }
    }),
  }
}
