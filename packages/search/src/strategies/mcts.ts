import { Planned, type Strategy } from '../strategy.js'
import type { SearchNode, SearchTree } from '../tree.js'

export interface MctsOptions {
  /** How many children a node gets at most. Default: 3. */
  readonly branching?: number
  /** Nodes this deep are not expanded. Default: 20. */
  readonly maxDepth?: number
  /** How much what was seldom tried is preferred to what is worth much. Default: √2. */
  readonly exploration?: number
}

/**
 * Monte Carlo tree search by UCT. Every value is backed up to the root; from there the child with the best of mean value and
 * bound is followed to a node that can have more children. What is just being expanded counts as visited and worth nothing.
 */
export function mcts({ branching = 3, maxDepth = 20, exploration = Math.SQRT2 }: MctsOptions = {}): Strategy {
  const canGrow = (node: SearchNode, planned = 0): boolean =>
    node.status === 'open' && node.depth < maxDepth && node.children.length + planned < branching
  return {
    name: `mcts ${branching} ${maxDepth} ${exploration}`,
    select(tree, count) {
      const growing = new Planned()
      const visits = new Planned()
      const follow = (node: SearchNode): SearchNode | undefined => {
        if (canGrow(node, growing.of(node))) return node
        for (const child of bestFirst(tree, node, visits, exploration)) {
          const found = follow(child)
          if (found) return found
        }
        return undefined
      }
      const selected: SearchNode[] = []
      for (let node = follow(tree.root); node && selected.length < count; node = follow(tree.root)) {
        selected.push(node)
        growing.add(node)
        for (const above of tree.path(node)) visits.add(above)
      }
      return selected
    },
    mayBeSelected: (_tree, node) => canGrow(node),
  }
}

function bestFirst(tree: SearchTree, node: SearchNode, visits: Planned, exploration: number): SearchNode[] {
  const ofParent = Math.log(Math.max(1, node.visits + visits.of(node)))
  const bound = (child: SearchNode): number => {
    const ofChild = Math.max(1, child.visits + visits.of(child))
    return child.total / ofChild + exploration * Math.sqrt(ofParent / ofChild)
  }
  return tree
    .children(node)
    .map((child) => ({ child, bound: bound(child) }))
    .sort((a, b) => b.bound - a.bound || a.child.id - b.child.id)
    .map(({ child }) => child)
}
