import type { Strategy } from '../strategy.js'
import type { SearchNode, SearchTree } from '../tree.js'

export interface BestOfOptions {
  /** How many attempts from the root. Default: 8. */
  readonly attempts?: number
  /** An attempt ends here at the latest. Default: 20. */
  readonly maxDepth?: number
}

/** Independent attempts, each a line from the root until it is done, failed or too long. */
export function bestOf({ attempts = 8, maxDepth = 20 }: BestOfOptions = {}): Strategy {
  const isTip = (node: SearchNode): boolean =>
    node.parent !== null && node.status === 'open' && node.depth < maxDepth && node.children.length === 0

  /** What the root was expanded for and did not come to be counts as an attempt too. */
  const unbegun = (tree: SearchTree): number => attempts - tree.root.children.length

  return {
    name: `best of ${attempts} ${maxDepth}`,
    select(tree, count) {
      const begun = tree.nodes.filter(isTip)
      const fresh = tree.root.status === 'open' ? Math.max(0, unbegun(tree)) : 0
      return [...begun, ...Array.from({ length: fresh }, () => tree.root)].slice(0, count)
    },
    mayBeSelected: (tree, node) => isTip(node) || (node.parent === null && unbegun(tree) > 0),
  }
}
