/** The one table that matters: the same worker kept and brought back by all who can. */

import type { Series } from '../../results.js'
import { median } from '../../statistics.js'
import type { Context, Section } from '../context.js'
import { type Events, eventsOf, ofTheWorker } from '../events.js'
import { type Markup, markup } from '../markup.js'
import { overview } from '../overview.js'
import { digits, quantity } from '../quantities.js'
import { BARE, bareOf, DELTABOX, summaryOf, systemName } from '../series.js'
import { type Cell, NOTHING, type Row, type Table, tableMarkup } from '../table.js'
import { failedCell, medianCell, seriesTable } from './series-table.js'

/** What was aimed at is to be so many times faster than these. */
const AIM = { times: 20, systems: ['criu', 'gvisor'] }

export function workerTable(context: Context): Table | undefined {
  const series = ofTheWorker(context.in('baselines'))
  const events = eventsOf(series).filter(({ system }) => system !== BARE)
  const own = events.find(({ system }) => system === DELTABOX)
  if (events.length === 0) return undefined
  const fork = bareOf([...series, ...context.in('operations')], 'fork')
  const limits = [
    limitRow('bare fork: the limit', fork),
    limitRow('bare calls: the limit', bareOf(series, 'call'), bareOf(series, 'call-answered')),
    limitRow('a worker that forks itself', bareOf(series, 'keep'), bareOf(series, 'back-answered')),
  ]
  const aims = events.filter(({ system }) => AIM.systems.includes(system)).map(aimRow)
  return {
    head: ['', 'checkpoint', '÷ DeltaBox', 'restore until it answers', '÷ DeltaBox', 'n', 'failed'],
    words: 1,
    rows: [...events.map((one) => row(one, own)), ...limits.flat(), ...aims],
    note: 'Medians, and the 95th percentiles. n: checkpoints / restores. Bare calls: to a server that does nothing for them; one, and one with a question to such a worker. A worker that forks itself: when that server tells it to, and when it kills the fork; without a sandbox, and without any file. DeltaBox is twenty times faster where it takes less than a twentieth.',
  }
}

function row({ system, checkpoint, restore }: Events, own: Events | undefined): Row {
  const both = [checkpoint, restore]
  const failed = both.reduce((sum, one) => sum + (one?.failures.length ?? 0), 0)
  return {
    cells: [
      systemName(system),
      withPercentile(checkpoint),
      timesOwn(checkpoint, own?.checkpoint),
      withPercentile(restore),
      timesOwn(restore, own?.restore),
      both.map((one) => one?.samples.length ?? NOTHING).join(' / '),
      failedCell(failed),
    ],
  }
}

/** No row where it was not measured. */
function limitRow(name: string, one: Series | undefined, answered?: Series): Row[] {
  if (!one) return []
  const both = answered ? [one, answered] : [one]
  return [
    {
      of: one,
      cells: [
        name,
        withPercentile(one),
        NOTHING,
        answered ? withPercentile(answered) : NOTHING,
        NOTHING,
        both.map(({ samples }) => samples.length).join(' / '),
        failedCell(both.reduce((sum, { failures }) => sum + failures.length, 0)),
      ],
    },
  ]
}

function aimRow({ system, checkpoint, restore }: Events): Row {
  return {
    cells: [
      `a twentieth of ${systemName(system)}`,
      part(checkpoint),
      NOTHING,
      part(restore),
      NOTHING,
      NOTHING,
      NOTHING,
    ],
  }
}

function part(series: Series | undefined): Cell {
  if (!series?.samples.length) return { text: NOTHING }
  return { text: quantity(median(series.samples) / AIM.times, 'ms'), of: series, tone: 'soft' }
}

function withPercentile(series: Series | undefined): Cell {
  const cell = medianCell(series)
  const p95 = series && summaryOf(series)?.p95
  return p95 === undefined ? cell : { ...cell, small: `p95 ${quantity(p95, 'ms')}` }
}

function timesOwn(one: Series | undefined, own: Series | undefined): string {
  if (!one?.samples.length || !own?.samples.length) return NOTHING
  return one === own ? '1' : `${digits(median(one.samples) / median(own.samples))} ×`
}

export const worker: Section = {
  id: 'worker',
  title: 'A worker of 50 MB, kept and brought back',
  groups: ['baselines'],
  content(context): Markup | undefined {
    const table = workerTable(context)
    const series = context.in('baselines')
    if (!table) return series.length > 0 ? tableMarkup(seriesTable(series)) : undefined
    const shown = new Set(eventsOf(ofTheWorker(series)).flatMap((one) => [one.checkpoint, one.restore]))
    const more = series.filter((one) => !shown.has(one))
    return markup`<figure class="overview">${overview(context.results)}</figure>${tableMarkup(table)}${
      more.length > 0 ? tableMarkup(seriesTable(more, 'Also measured with them')) : undefined
    }`
  },
}
