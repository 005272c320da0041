/** What a search has found: a tree of nodes, each of them a checkpoint. Plain data, so that it can be kept and read again. */

/** Milliseconds. Of what was started while a model was waited for, `…Hidden` is the part that nobody waited for. */
export interface NodeTimes {
  readonly propose: number
  readonly act: number
  readonly evaluate: number
  /** To the state of the parent, and what was waited for that to be taken. */
  readonly goTo: number
  readonly goToHidden: number
  /** The rollback alone; 0 where the sandbox was there already. */
  readonly rollback: number
  readonly checkpoint: number
  readonly checkpointHidden: number
  /** How long the sandbox's processes stood still for the checkpoint. */
  readonly blocking: number
}

export interface NodeUsage {
  readonly inputTokens: number
  readonly outputTokens: number
  readonly calls: number
  /** Milliseconds until models had answered. */
  readonly modelMs: number
}

/** `open`: it can be expanded. `done`: nothing is to follow. `failed`: there is no state behind it. */
export type NodeStatus = 'open' | 'done' | 'failed'

export interface SearchNode<Action = unknown, Observation = unknown> {
  /** In the order in which they were chosen; the root is 0. */
  readonly id: number
  readonly parent: number | null
  readonly depth: number
  /** What led here from the parent; null for the root, and where none was proposed. */
  readonly action: Action | null
  readonly observation: Observation | null
  /** Null where it failed, and while it is taken. */
  checkpoint: string | null
  status: NodeStatus
  /** Why it failed. */
  error: string | null
  /** Of its own state; null where nothing tells. */
  value: number | null
  /** How often it, or a node below, was given a value, and the sum of these. */
  visits: number
  total: number
  readonly children: number[]
  times: NodeTimes
  readonly usage: NodeUsage
  /** Its checkpoint was removed, as it was not to be selected any more. */
  dropped: boolean
}

export const NO_TIMES: NodeTimes = {
  propose: 0,
  act: 0,
  evaluate: 0,
  goTo: 0,
  goToHidden: 0,
  rollback: 0,
  checkpoint: 0,
  checkpointHidden: 0,
  blocking: 0,
}

export const NO_USAGE: NodeUsage = { inputTokens: 0, outputTokens: 0, calls: 0, modelMs: 0 }

/** What was used at one time is one call, unless it says otherwise. */
export function added(
  to: NodeUsage,
  { inputTokens = 0, outputTokens = 0, calls = 1, modelMs = 0 }: Partial<NodeUsage>,
): NodeUsage {
  return {
    inputTokens: to.inputTokens + inputTokens,
    outputTokens: to.outputTokens + outputTokens,
    calls: to.calls + calls,
    modelMs: to.modelMs + modelMs,
  }
}

/** What an expansion has come to. */
export type Outcome<Action, Observation> = Pick<
  SearchNode<Action, Observation>,
  'id' | 'action' | 'observation' | 'checkpoint' | 'status' | 'error' | 'value' | 'times' | 'usage'
> & { readonly parent: number }

export class SearchTree<Action = unknown, Observation = unknown> {
  readonly nodes: SearchNode<Action, Observation>[] = []

  static rooted<Action, Observation>(checkpoint: string): SearchTree<Action, Observation> {
    const tree = new SearchTree<Action, Observation>()
    tree.nodes.push({
      ...{ id: 0, parent: null, depth: 0, action: null, observation: null, checkpoint },
      ...{ status: 'open', error: null, value: null, visits: 0, total: 0, children: [] },
      ...{ times: NO_TIMES, usage: NO_USAGE, dropped: false },
    })
    return tree
  }

  get root(): SearchNode<Action, Observation> {
    return this.node(0)
  }

  node(id: number): SearchNode<Action, Observation> {
    const node = this.nodes[id]
    if (!node) throw new RangeError(`the tree has no node ${id}`)
    return node
  }

  children(node: SearchNode<Action, Observation>): SearchNode<Action, Observation>[] {
    return node.children.map((id) => this.node(id))
  }

  /** From the root to the node. */
  path(node: SearchNode<Action, Observation>): SearchNode<Action, Observation>[] {
    const path = [node]
    for (let at = node; at.parent !== null; ) {
      at = this.node(at.parent)
      path.unshift(at)
    }
    return path
  }

  /** In the order of their ids. A node's value is one more visit of all above it; what failed counts as worth nothing. */
  add(outcome: Outcome<Action, Observation>): SearchNode<Action, Observation> {
    if (outcome.id !== this.nodes.length) throw new RangeError(`node ${outcome.id} is not the next`)
    const parent = this.node(outcome.parent)
    const node = { ...outcome, depth: parent.depth + 1, visits: 0, total: 0, children: [], dropped: false }
    this.nodes.push(node)
    parent.children.push(node.id)
    for (const above of this.path(node)) {
      above.visits += 1
      above.total += outcome.value ?? 0
    }
    return node
  }

  /** Its state cannot be gone back to: it is worth nothing. */
  lose(id: number, reason: string): void {
    const node = this.node(id)
    for (const above of this.path(node)) above.total -= node.value ?? 0
    node.value = null
    node.status = 'failed'
    node.error = reason
  }

  /** The node whose own state is worth most; of several the first. Undefined while none has a value. */
  best(): SearchNode<Action, Observation> | undefined {
    let best: SearchNode<Action, Observation> | undefined
    for (const node of this.nodes) {
      if (node.status === 'failed' || node.value === null) continue
      if (best?.value === undefined || best.value === null || node.value > best.value) best = node
    }
    return best
  }
}

/** What it is worth on average, by all that is known of it and below. */
export function meanOf({ visits, total }: Pick<SearchNode, 'visits' | 'total'>): number {
  return visits === 0 ? 0 : total / visits
}
