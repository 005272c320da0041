/** Trees to be looked at. */
import { NO_TIMES, NO_USAGE, type Outcome, SearchTree } from '../../src/tree.js'

export type Made = Partial<Outcome<string, string>> & Pick<Outcome<string, string>, 'parent'>

export function outcome(id: number, made: Made): Outcome<string, string> {
  return {
    ...{ id, action: `do ${id}`, observation: `saw ${id}`, checkpoint: `cp-${id}`, status: 'open' },
    ...{ error: null, value: 0.5, times: NO_TIMES, usage: NO_USAGE },
    ...made,
  }
}

export function treeOf(...made: readonly Made[]): SearchTree<string, string> {
  const tree = SearchTree.rooted<string, string>('cp-0')
  for (const [index, one] of made.entries()) tree.add(outcome(index + 1, one))
  return tree
}
