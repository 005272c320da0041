/** Searches over repositories: what states cost, by the event and from end to end. */
import type { Series } from '../../results.js'
import type { Context, Section } from '../context.js'
import { eventsOf } from '../events.js'
import { type Markup, markup } from '../markup.js'
import { digits } from '../quantities.js'
import { distinct, inOrderOfSystems, type Summary, summaryOf, systemName } from '../series.js'
import { type Cell, NOTHING, type Piece, type Table, tableMarkup } from '../table.js'
import { countNote, pivotTable, seriesTable } from './series-table.js'

const GROUPS = ['search', 'search-replay']
const TIMED =
  'Checkpoint from the call to its return, restore until the worker can be asked again. Searching: both from the call to its return.'

export function repositoryOf({ parameters }: Series): string {
  return String(parameters.repository ?? '')
}

/** The search itself, and who has done again what it did. */
function columnOf({ group, system }: Series): string {
  return group === 'search' ? `${systemName(system)}, searching` : systemName(system)
}

export function searchTables(context: Context): Table[] {
  const series = inOrderOfSystems(context.in(...GROUPS), ({ system }) => system)
  const overhead = series.filter(({ operation }) => operation === 'overhead')
  return [
    eventTable(series, 'mean'),
    eventTable(series, 'median'),
    overhead.length === 0
      ? undefined
      : pivotTable({
          title: 'End to end: (model + actions + states) / (model + actions)',
          rows: 'repository',
          series: overhead,
          rowOf: repositoryOf,
          columnOf,
          note: 'The search hides what states cost behind the model where it can; in the others nothing is hidden.',
        }),
  ].flatMap((table) => (table ? [table] : []))
}

function eventTable(all: readonly Series[], statistic: 'mean' | 'median'): Table | undefined {
  const events = all.filter(({ unit }) => unit === 'ms')
  const columns = distinct(events, columnOf).filter(
    (column) => eventsOf(events.filter((one) => columnOf(one) === column)).length > 0,
  )
  const rows = distinct(events, repositoryOf)
  if (columns.length === 0) return undefined
  const cell = (repository: string, column: string): Cell | string => {
    const [its] = eventsOf(
      events.filter((one) => repositoryOf(one) === repository && columnOf(one) === column),
    )
    if (!its) return NOTHING
    const pieces = [its.checkpoint, its.restore].map((series) => piece(series, statistic))
    const [first = { text: NOTHING }, ...others] = pieces
    return { ...first, others, ...notes([its.checkpoint, its.restore]) }
  }
  return {
    title: `Checkpoint / restore, ${statistic} by the event, in ms`,
    head: ['repository', ...columns],
    words: 1,
    rows: rows.map((name) => ({ cells: [name, ...columns.map((column) => cell(name, column))] })),
    ...(statistic === 'mean' ? {} : { note: TIMED }),
  }
}

function piece(series: Series | undefined, statistic: keyof Summary): Piece {
  const summary = series && summaryOf(series)
  return { text: summary ? digits(summary[statistic]) : series ? 'failed' : NOTHING, of: series }
}

function notes(series: readonly (Series | undefined)[]): Pick<Cell, 'small' | 'tone'> {
  const known = series.flatMap((one) => (one ? [one] : []))
  const failed = known.reduce((sum, { failures }) => sum + failures.length, 0)
  return {
    small: `n ${known.map(({ samples }) => samples.length).join(' / ')}${failed > 0 ? `, ${failed} failed` : ''}`,
    tone: failed > 0 ? 'bad' : undefined,
  }
}

export const search: Section = {
  id: 'search',
  title: 'Searches over repositories',
  groups: GROUPS,
  content(context): Markup | undefined {
    const series = context.in(...GROUPS)
    if (series.length === 0) return undefined
    return markup`${searchTables(context).map(tableMarkup)}<details><summary>all figures, ${series.length} series (${countNote(
      {
        samples: series.flatMap(({ samples }) => samples),
        failures: series.flatMap(({ failures }) => failures),
      },
    )})</summary>${GROUPS.map((group) => tableMarkup(seriesTable(context.in(group), group)))}</details>`
  },
}
