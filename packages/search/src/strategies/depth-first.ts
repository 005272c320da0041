import { Planned, type Strategy } from '../strategy.js'
import type { SearchNode, SearchTree } from '../tree.js'

export interface DepthFirstOptions {
  /** How many children a node gets at most before its parent is gone back to. Default: 2. */
  readonly branching?: number
  /** Nodes this deep are not expanded. Default: 20. */
  readonly maxDepth?: number
  /** What is worth less is not followed. Default: everything is. */
  readonly least?: number
}

/** One step after the other, and back to the last choice where it does not go on. */
export function depthFirst(options: DepthFirstOptions = {}): Strategy {
  const { branching = 2, maxDepth = 20, least = Number.NEGATIVE_INFINITY } = options
  const isWorth = (node: SearchNode): boolean => node.value === null || node.value >= least
  const canGrow = (node: SearchNode): boolean =>
    node.status === 'open' && node.depth < maxDepth && node.children.length < branching && isWorth(node)
  return {
    name: `depth first ${branching} ${maxDepth} ${least}`,
    select(tree: SearchTree, count) {
      const planned = new Planned()
      const open = tree.nodes.filter(canGrow).sort((a, b) => b.depth - a.depth || b.id - a.id)
      const selected: SearchNode[] = []
      for (const node of open) {
        while (selected.length < count && node.children.length + planned.of(node) < branching) {
          selected.push(node)
          planned.add(node)
        }
      }
      return selected
    },
    mayBeSelected: (_tree, node) => canGrow(node),
  }
}
