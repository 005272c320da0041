import type { Random } from './random.js'
import type { SearchNode, SearchTree } from './tree.js'

/** Which node is expanded next. It keeps nothing to itself: what it decides comes from the tree, so a search can go on after a crash. */
export interface Strategy {
  /** Kept with the tree: a search goes on with the same one only. */
  readonly name: string
  /**
   * At most so many nodes to expand, which are then expanded at the same time: one that is there several times gets several
   * children. None: the search is over.
   */
  select(tree: SearchTree, count: number, random: Random): SearchNode[]
  /** Whether the node may be selected now or later. The checkpoint of one that may not goes. */
  mayBeSelected(tree: SearchTree, node: SearchNode): boolean
}

/** Counts by node, for what is planned but not there yet. */
export class Planned {
  readonly #counts = new Map<number, number>()

  of(node: SearchNode): number {
    return this.#counts.get(node.id) ?? 0
  }

  add(node: SearchNode): void {
    this.#counts.set(node.id, this.of(node) + 1)
  }
}
