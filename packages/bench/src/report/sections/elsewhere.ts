/** What others have published, beside ours where it is of the same thing. */

import type { Series } from '../../results.js'
import { median } from '../../statistics.js'
import type { Context } from '../context.js'
import { eventsOf } from '../events.js'
import { type Markup, markup } from '../markup.js'
import { EVENT_SYSTEMS, EVENTS, FIGURES, SOURCE } from '../published.js'
import { digits, quantity } from '../quantities.js'
import { DELTABOX, label, parametersName, summaryOf, told } from '../series.js'
import { type Cell, NOTHING, type Table, tableMarkup } from '../table.js'
import { repositoryOf } from './search.js'

export function publishedMarkup(context: Context): Markup {
  return markup`<p class="warning">Published elsewhere, measured on another machine: ${SOURCE}. Ours are of this run. They tell of what order things are, not who is faster by how much; that is in the tables above, of one run on one machine.</p>${tableMarkup(
    eventTable(context),
  )}${tableMarkup(figureTable(context))}`
}

function eventTable(context: Context): Table {
  return {
    title: 'Checkpoint / restore, mean by the event of a search, in ms',
    head: ['repository', ...EVENT_SYSTEMS, 'DeltaBox, this run'],
    words: 1,
    rows: EVENTS.map(({ repository, ms }) => ({
      cells: [
        repository,
        ...ms.map(([checkpoint, restore]) => `${digitsOf(checkpoint)} / ${digitsOf(restore)}`),
        ours(context, repository),
      ],
    })),
  }
}

/** As it was published, to the last digit. */
function digitsOf(ms: number): string {
  return ms.toLocaleString('en', { maximumFractionDigits: 2 })
}

function ours(context: Context, repository: string): Cell | string {
  const isIt = (series: Series): boolean =>
    series.system === DELTABOX && repositoryOf(series).toLowerCase() === repository.toLowerCase()
  const [its] = eventsOf(context.in('search').filter(isIt))
  const [again] = eventsOf(context.in('search-replay').filter(isIt))
  const events = its ?? again
  if (!events) return NOTHING
  const pieces = [events.checkpoint, events.restore].map((series) => {
    const mean = series && summaryOf(series)?.mean
    return { text: mean === undefined ? NOTHING : digits(mean), of: series }
  })
  const [first = { text: NOTHING }, ...others] = pieces
  return { ...first, others }
}

function figureTable(context: Context): Table {
  return {
    title: 'Other figures',
    head: ['what', 'published', 'DeltaBox, this run'],
    words: 3,
    rows: FIGURES.map(({ what, figures, isSame }) => {
      const same = context.series.filter((one) => one.samples.length > 0 && isSame(one))
      return { cells: [what, figures, sameCell(same)] }
    }),
  }
}

/** Few are told one by one, of many between which they lie. */
const FEW = 3

function sameCell(series: readonly Series[]): Cell | string {
  const [first, ...rest] = series
  if (!first) return NOTHING
  const tell = (one: Series): string => told(one, median(one.samples))
  if (rest.length === 0) return { text: tell(first), of: first }
  const pieces = series.map((one) => ({
    text: `${parametersName(one.parameters) || label(one)}: ${tell(one)}`,
    of: one,
  }))
  if (series.length <= FEW) return { ...pieces[0], text: pieces[0]?.text ?? '', others: pieces.slice(1) }
  const medians = series.map(({ samples }) => median(samples))
  return `${quantity(Math.min(...medians), first.unit)} to ${quantity(Math.max(...medians), first.unit)} in ${series.length} cases`
}
