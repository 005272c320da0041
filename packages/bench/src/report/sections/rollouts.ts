/** Many sandboxes of one state. */
import type { Section } from '../context.js'
import { type Markup, markup } from '../markup.js'
import { label, parametersName } from '../series.js'
import { tableMarkup } from '../table.js'
import { growthMarkup, variedIn } from './growth.js'
import { pivotTable } from './series-table.js'

const GROUP = 'rollouts'

export const rollouts: Section = {
  id: 'rollouts',
  title: 'Rollouts: fan-out and occupation',
  groups: [GROUP],
  content(context): Markup | undefined {
    const series = context.in(GROUP)
    if (series.length === 0) return undefined
    const x = variedIn(series)
    const table = pivotTable({
      title: 'Medians',
      rows: '',
      series,
      rowOf: (one) => label(one, x),
      columnOf: ({ parameters }) => parametersName(parameters) || 'median',
    })
    return markup`<p>Occupation is the share of the time in which models generate or train: (generation + training) / (waiting for sandboxes + generation + training).</p>${tableMarkup(
      table,
    )}<div class="plots">${growthMarkup(series, 'rollouts')}</div>`
  },
}
