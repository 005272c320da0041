/** What states cost, with checkpoints and without. Every figure was measured in this run. */
import { medianOf, milliseconds, type ReportTable, type SearchTree } from '@deltabox/search'
import type { Action } from './actions.js'
import type { Replayed } from './copy-and-replay.js'
import { wrapped } from './wrapped.js'

export interface Comparison extends ReportTable {
  readonly head: readonly string[]
  readonly note: string
}

interface Cost {
  readonly back: readonly number[]
  readonly keep: readonly number[]
  readonly hidden: number
}

export function compare(tree: SearchTree<Action, string>, replayed: Replayed): Comparison {
  const nodes = replayed.nodes.map(({ id }) => tree.node(id))
  const ours: Cost = {
    back: nodes.map(({ times }) => times.goTo),
    keep: nodes.map(({ times }) => times.checkpoint),
    hidden: sum(nodes.map(({ times }) => times.goToHidden + times.checkpointHidden)),
  }
  const theirs: Cost = {
    back: replayed.nodes.map(({ backMs }) => backMs),
    keep: [0],
    hidden: sum(replayed.nodes.map(({ hiddenMs }) => hiddenMs)),
  }
  const row = (name: string, of: (cost: Cost) => number): string[] => {
    const [one, other] = [of(ours), of(theirs)]
    return [
      name,
      milliseconds(one),
      other > 0 ? milliseconds(other) : '–',
      other > 0 ? `${ratio(other / one)} ×` : '',
    ]
  }
  const all = ({ back, keep }: Cost): number => sum(back) + sum(keep)
  return {
    title: 'The same search without checkpoints',
    head: ['', 'DeltaBox', 'copy + replay', ''],
    rows: [
      row('back to a state, median', ({ back }) => medianOf(back)),
      row('back to a state, worst', ({ back }) => Math.max(...back)),
      row('keep a state, median', ({ keep }) => medianOf(keep)),
      row('state management, all', all),
    ],
    note: [
      'Copy + replay: the files are copied as they were written, the server is started anew, what customers put is put again,',
      'and the actions on the way are done again, but for those that only look. To keep a state costs nothing.',
      `It came to the same value at ${replayed.same} of ${nodes.length} nodes.`,
      `While the model was thinking passed ${milliseconds(ours.hidden)} of DeltaBox's ${milliseconds(all(ours))}.`,
      `Of the ${milliseconds(all(theirs))} of copy + replay as many as ${milliseconds(theirs.hidden)} would, if it were done then too:`,
      'what is small enough hides behind any model, and takes the processor all the same.',
    ].join(' '),
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((all, one) => all + one, 0)
}

function ratio(times: number): string {
  return times.toFixed(times < 10 ? 1 : 0)
}

/** In columns. */
export function asText({ head, rows, note }: Comparison): string {
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((row) => row[column]?.length ?? 0)))
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart((widths[column] ?? 0) + 3),
      )
      .join('')
      .trimEnd()
  return [line(head), ...rows.map(line), '', wrapped(note)].join('\n')
}
