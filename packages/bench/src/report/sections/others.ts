/** What nobody has thought of a place for. */

import type { Context } from '../context.js'
import { type Markup, markup } from '../markup.js'
import { distinct } from '../series.js'
import { tableMarkup } from '../table.js'
import { growthMarkup } from './growth.js'
import { completeTable } from './series-table.js'

/** Groups that no section shows. */
export function othersMarkup(context: Context, shown: ReadonlySet<string>): Markup | undefined {
  const groups = distinct(context.series, ({ group }) => group).filter((group) => !shown.has(group))
  if (groups.length === 0) return undefined
  return markup`<div class="plots">${groups.map(
    (group, index) =>
      markup`<div><h3>${group}</h3>${growthMarkup(context.in(group), `other-${index}`)}</div>`,
  )}</div>`
}

export function everythingMarkup(context: Context): Markup {
  return markup`<details><summary>${context.series.length} series, ${context.series.reduce((sum, { samples }) => sum + samples.length, 0)} samples</summary>${tableMarkup(
    completeTable(context.series),
  )}</details>`
}
