/** What reaches the device when a file is edited. */

import type { Series } from '../../results.js'
import { median } from '../../statistics.js'
import type { Context, Section } from '../context.js'
import { type Markup, markup } from '../markup.js'
import { digits } from '../quantities.js'
import {
  BARE,
  DELTABOX,
  distinct,
  inOrderOfSystems,
  operationName,
  parametersName,
  systemName,
} from '../series.js'
import { NOTHING, type Table, tableMarkup } from '../table.js'
import { countNote, medianCell, seriesTable, titleOf } from './series-table.js'

const GROUP = 'writes'

export function writesTables(context: Context): Table[] {
  const series = inOrderOfSystems(
    context.in(GROUP).filter(({ unit }) => unit === 'bytes'),
    ({ system }) => system,
  )
  return distinct(series, ({ operation }) => operation).map((operation) =>
    writesTable(
      titleOf(operation),
      series.filter((one) => one.operation === operation),
    ),
  )
}

/** Beside each other who does the same. */
function writesTable(title: string, series: readonly Series[]): Table {
  const systems = distinct(series, ({ system }) => system)
  const isCompared = systems.includes(DELTABOX) && systems.includes(BARE)
  const find = (row: string, system: string): Series | undefined =>
    series.find((one) => rowOf(one) === row && one.system === system)
  return {
    title: `${title}, medians`,
    head: ['', ...systems.map(systemName), ...(isCompared ? ['DeltaBox ÷ bare'] : [])],
    words: 1,
    rows: distinct(series, rowOf).map((row) => ({
      cells: [
        row,
        ...systems.map((system) => {
          const one = find(row, system)
          return one ? { ...medianCell(one), small: countNote(one) } : NOTHING
        }),
        ...(isCompared ? [ratio(find(row, DELTABOX), find(row, BARE))] : []),
      ],
    })),
  }
}

function rowOf({ operation, parameters }: Series): string {
  return parametersName(parameters) || operationName(operation)
}

function ratio(one: Series | undefined, other: Series | undefined): string {
  if (!one?.samples.length || !other?.samples.length) return NOTHING
  const bare = median(other.samples)
  return bare === 0 ? NOTHING : `${digits(median(one.samples) / bare)} ×`
}

export const writes: Section = {
  id: 'writes',
  title: 'What an edit writes',
  groups: [GROUP],
  content(context): Markup | undefined {
    const tables = writesTables(context)
    const others = context.in(GROUP).filter(({ unit }) => unit !== 'bytes')
    if (tables.length === 0 && others.length === 0) return undefined
    return markup`${tables.map(tableMarkup)}${
      others.length > 0 ? tableMarkup(seriesTable(others, 'Also measured with them')) : undefined
    }`
  },
}
