import { Planned, type Strategy } from '../strategy.js'
import type { SearchNode, SearchTree } from '../tree.js'

export interface BeamOptions {
  /** How many nodes of a level are expanded: those worth most. Default: 3. */
  readonly beam?: number
  /** How many children each of them gets. Default: 3. */
  readonly branching?: number
  /** Nodes this deep are not expanded. Default: 20. */
  readonly maxDepth?: number
}

/** Level by level, and of each level only the best. */
export function beam({ beam: width = 3, branching = 3, maxDepth = 20 }: BeamOptions = {}): Strategy {
  /** The deepest level all of whose parents have all their children, and those of it that go on. */
  const front = (tree: SearchTree): SearchNode[] => {
    let level = [tree.root]
    for (;;) {
      const going = level.filter((node) => node.status === 'open' && node.depth < maxDepth)
      const best = going.sort((a, b) => (b.value ?? 0) - (a.value ?? 0) || a.id - b.id).slice(0, width)
      if (best.length === 0 || best.some((node) => node.children.length < branching)) return best
      level = best.flatMap((node) => tree.children(node))
    }
  }
  return {
    name: `beam ${width} ${branching} ${maxDepth}`,
    select(tree, count) {
      const planned = new Planned()
      const selected: SearchNode[] = []
      for (const node of front(tree)) {
        while (selected.length < count && node.children.length + planned.of(node) < branching) {
          selected.push(node)
          planned.add(node)
        }
      }
      return selected
    },
    mayBeSelected(tree, node) {
      const deepest = front(tree)
      // Those of the level below are chosen from when it is complete.
      const level = deepest[0]?.depth ?? Number.POSITIVE_INFINITY
      return node.status === 'open' && (node.depth > level || deepest.includes(node))
    },
  }
}
