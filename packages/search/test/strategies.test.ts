import {
  beam,
  bestOf,
  depthFirst,
  mcts,
  Random,
  type SearchNode,
  SearchTree,
  type Strategy,
} from '@deltabox/search'
import { describe, expect, it } from 'vitest'

const TIMES = {
  ...{ propose: 0, act: 0, evaluate: 0, goTo: 0, goToHidden: 0, rollback: 0 },
  ...{ checkpoint: 0, checkpointHidden: 0, blocking: 0 },
}
const USAGE = { inputTokens: 0, outputTokens: 0, calls: 0, modelMs: 0 }

function add(
  tree: SearchTree,
  parent: number,
  value: number | null,
  status: SearchNode['status'] = 'open',
): number {
  const id = tree.nodes.length
  const checkpoint = status === 'failed' ? null : `cp-${id}`
  tree.add({
    ...{ id, parent, action: `a${id}`, observation: null, checkpoint, status },
    ...{ error: null, value, times: TIMES, usage: USAGE },
  })
  return id
}

function chosen(strategy: Strategy, tree: SearchTree, count: number): number[] {
  return strategy.select(tree, count, new Random(1)).map(({ id }) => id)
}

/** Until nothing is selected; the value of a node is that of its id by the function. */
function grow(strategy: Strategy, worth: (id: number, parent: SearchNode) => number, most = 200): SearchTree {
  const tree = SearchTree.rooted('cp-0')
  while (tree.nodes.length <= most) {
    const [next] = strategy.select(tree, 1, new Random(1))
    if (!next) break
    add(tree, next.id, worth(tree.nodes.length, next))
  }
  return tree
}

describe('a tree', () => {
  it('counts a value for all above it, and what failed as nothing', () => {
    const tree = SearchTree.rooted('cp-0')
    add(tree, 0, 0.5)
    add(tree, 1, 1)
    add(tree, 1, null, 'failed')
    expect(tree.nodes.map(({ visits, total }) => [visits, total])).toEqual([
      [3, 1.5],
      [3, 1.5],
      [1, 1],
      [1, 0],
    ])
    expect(tree.best()?.id).toBe(2)
    expect(tree.path(tree.node(2)).map(({ id }) => id)).toEqual([0, 1, 2])
    expect(() => add(tree, 9, 1)).toThrow('no node 9')
  })
})

describe('mcts', () => {
  it('gives a node all its children before it goes down, several of them at once', () => {
    const tree = SearchTree.rooted('cp-0')
    expect(chosen(mcts({ branching: 3 }), tree, 2)).toEqual([0, 0])
    expect(chosen(mcts({ branching: 3 }), tree, 4)).toEqual([0, 0, 0])
    for (const value of [0.1, 0.9, 0.2]) add(tree, 0, value)
    expect(chosen(mcts({ branching: 3 }), tree, 1)).toEqual([2])
  })

  it('spreads what is chosen at once, as if it were worth nothing yet', () => {
    const tree = SearchTree.rooted('cp-0')
    for (const value of [0.5, 0.5, 0.5]) add(tree, 0, value)
    expect(chosen(mcts({ branching: 3 }), tree, 3)).toEqual([1, 2, 3])
  })

  it('tries what was seldom tried when that is asked for, and what is worth most when not', () => {
    const tree = SearchTree.rooted('cp-0')
    add(tree, 0, 1)
    add(tree, 0, 0.1)
    for (let i = 0; i < 3; i++) add(tree, 1, 0.9)
    expect(chosen(mcts({ branching: 2, exploration: 0 }), tree, 1)).toEqual([3])
    expect(chosen(mcts({ branching: 2, exploration: 10 }), tree, 1)).toEqual([2])
  })

  it('goes round what is done, failed or too deep, and ends when nothing is left', () => {
    const tree = SearchTree.rooted('cp-0')
    add(tree, 0, 1, 'done')
    add(tree, 0, null, 'failed')
    add(tree, 0, 0.1)
    const strategy = mcts({ branching: 3, maxDepth: 2 })
    expect(chosen(strategy, tree, 1)).toEqual([3])
    expect(tree.nodes.map((node) => strategy.mayBeSelected(tree, node))).toEqual([false, false, false, true])
    for (let i = 0; i < 3; i++) add(tree, 3, 0)
    expect(chosen(strategy, tree, 1)).toEqual([])
  })

  it('finds a deep reward that decoys hide', () => {
    // Only the second child of each node leads on; the first looks well for one step.
    const good = new Set([0])
    const tree = grow(
      mcts({ branching: 2, maxDepth: 6, exploration: 0.7 }),
      (id, parent) => {
        const isSecond = parent.children.length === 1
        if (good.has(parent.id) && isSecond) good.add(id)
        return good.has(id) ? parent.depth / 6 + 0.2 : good.has(parent.id) ? 0.3 : 0
      },
      60,
    )
    expect(Math.max(...tree.nodes.map(({ value }) => value ?? 0))).toBeGreaterThan(1)
  })
})

describe('beam', () => {
  it('expands the best of each level, and only these', () => {
    const strategy = beam({ beam: 2, branching: 3, maxDepth: 3 })
    const tree = grow(strategy, (id) => (id * 7) % 5)
    const byDepth = [1, 2, 3].map((depth) => tree.nodes.filter((node) => node.depth === depth).length)
    expect(byDepth).toEqual([3, 6, 6])
    for (const depth of [1, 2]) {
      const level = tree.nodes.filter((node) => node.depth === depth)
      const best = [...level].sort((a, b) => (b.value ?? 0) - (a.value ?? 0) || a.id - b.id).slice(0, 2)
      expect(level.filter((node) => node.children.length > 0)).toEqual(best.sort((a, b) => a.id - b.id))
    }
  })

  it('keeps what it may still choose from', () => {
    const strategy = beam({ beam: 1, branching: 2, maxDepth: 4 })
    const tree = SearchTree.rooted('cp-0')
    for (const value of [0.2, 0.8]) add(tree, 0, value)
    add(tree, 2, 0.3)
    expect(tree.nodes.map((node) => strategy.mayBeSelected(tree, node))).toEqual([false, false, true, true])
    expect(chosen(strategy, tree, 5)).toEqual([2])
  })
})

describe('best of n', () => {
  it('makes so many lines of so many steps, side by side', () => {
    const strategy = bestOf({ attempts: 3, maxDepth: 2 })
    const tree = SearchTree.rooted('cp-0')
    expect(chosen(strategy, tree, 5)).toEqual([0, 0, 0])
    add(tree, 0, 0)
    expect(chosen(strategy, tree, 5)).toEqual([1, 0, 0])
    const whole = grow(strategy, () => 0)
    expect(whole.nodes.map(({ parent }) => parent)).toEqual([null, 0, 1, 0, 3, 0, 5])
  })

  it('does not begin again what failed', () => {
    const strategy = bestOf({ attempts: 2 })
    const tree = SearchTree.rooted('cp-0')
    add(tree, 0, null, 'failed')
    add(tree, 0, 0.5)
    add(tree, 2, null, 'failed')
    expect(chosen(strategy, tree, 5)).toEqual([])
  })
})

describe('depth first', () => {
  it('goes on from the deepest, and back where that is worth too little', () => {
    const strategy = depthFirst({ branching: 2, maxDepth: 3, least: 0.5 })
    const tree = SearchTree.rooted('cp-0')
    add(tree, 0, 0.9)
    add(tree, 1, 0.1)
    expect(chosen(strategy, tree, 1)).toEqual([1])
    add(tree, 1, 0.6)
    expect(chosen(strategy, tree, 1)).toEqual([3])
    expect(chosen(strategy, tree, 4)).toEqual([3, 3, 0])
  })
})
