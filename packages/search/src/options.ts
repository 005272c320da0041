import type { Checkpoint, Client, Sandbox } from 'deltabox'
import type { Random } from './random.js'
import type { Strategy } from './strategy.js'
import type { NodeUsage, Outcome, SearchNode, SearchTree } from './tree.js'

/** What a function that makes one child is told. */
export interface StepContext<Action, Observation> {
  /** The id that the child will have. */
  readonly id: number
  /** From the root to the node that is expanded. */
  readonly path: readonly SearchNode<Action, Observation>[]
  /** The children the node has already, and those that are made at the same time, which have nothing yet. */
  readonly siblings: readonly SearchNode<Action, Observation>[]
  /** Which of the node's children it will be, from 0. */
  readonly index: number
  /** The same numbers for the same seed, whatever else goes on. */
  readonly random: Random
  /** Aborted when the search is, or when this takes longer than its limit. */
  readonly signal: AbortSignal
  /** What models have used is counted with the node. */
  readonly count: (usage: Partial<NodeUsage>) => void
}

export interface ValueContext<Action, Observation> extends StepContext<Action, Observation> {
  readonly action: Action
  readonly observation: Observation
}

/** `done`: nothing is to follow from there. */
export type Value = number | { readonly value: number; readonly done?: boolean }

export interface Budget {
  /** How many children are made in all. */
  readonly expansions: number
  /** No new ones are begun after so many milliseconds. Default: no limit. */
  readonly ms?: number
  /** No new ones are begun once models have used so many tokens. Default: no limit. */
  readonly tokens?: number
}

/** Milliseconds. What takes longer has failed. Default: no limit. */
export interface StepLimits {
  readonly proposeMs?: number
  readonly actMs?: number
  readonly evaluateMs?: number
}

export interface SearchOptions<Action, Observation> {
  /** Where it begins. Of a sandbox a checkpoint is taken; itself it is not touched. */
  readonly root: Sandbox | Checkpoint
  /** What to do next in the state of the last node of the path; null: nothing. This is where models are asked. */
  propose(context: StepContext<Action, Observation>): Promise<Action | null>
  /** Does it, in that state. What it returns must be JSON, as must be actions: both are kept with the tree. */
  act(box: Sandbox, action: Action, context: StepContext<Action, Observation>): Promise<Observation>
  /** What the new state is worth. Whatever it does to the sandbox is put back. */
  evaluate?(box: Sandbox, context: ValueContext<Action, Observation>): Promise<Value>
  /** The same without the sandbox, by a model for instance: it is asked while the checkpoint is taken. */
  judge?(context: ValueContext<Action, Observation>): Promise<Value>
  readonly strategy: Strategy
  readonly budget: Budget
  /**
   * How many children are chosen together, before the values of the others are known. The tree depends on this and the seed, never on
   * `concurrency`. Default: 4.
   */
  readonly width?: number
  /** How many of them are made at the same time, each in a sandbox. Default: 1. */
  readonly concurrency?: number
  /** Default: 1. */
  readonly seed?: number
  readonly limits?: StepLimits
  /** The search is over when a node is worth so much. Default: it goes on. */
  readonly stopAt?: number
  /** Which checkpoints are there when it is over. Default: those of nodes that could still be selected, and of the best. */
  readonly keep?: 'all' | 'selectable' | 'best'
  /** Where the search is kept. One that is there already goes on: nothing that was done is done again. */
  readonly file?: string
  readonly signal?: AbortSignal
  readonly onEvent?: (event: SearchEvent<Action, Observation>) => void
  /** Of the daemon that has the root. Default: this user's. */
  readonly client?: Client
}

export type Phase = 'propose' | 'act' | 'evaluate'

export type SearchEvent<Action = unknown, Observation = unknown> =
  /** The tree that grows from now on; what an earlier program has left of it is there. */
  | { readonly type: 'begun'; readonly tree: SearchTree<Action, Observation> }
  | { readonly type: 'selected'; readonly ids: readonly number[]; readonly parents: readonly number[] }
  | { readonly type: 'phase'; readonly id: number; readonly phase: Phase }
  /** The daemon or an engine is gone; the expansion is tried again once there is one. */
  | { readonly type: 'interrupted'; readonly id: number; readonly reason: string }
  /** Its checkpoint is there. */
  | { readonly type: 'made'; readonly outcome: Outcome<Action, Observation> }
  /** It is in the tree, as are the others that were selected with it; its checkpoint may still be taken. */
  | { readonly type: 'node'; readonly node: SearchNode<Action, Observation> }
  | { readonly type: 'dropped'; readonly ids: readonly number[] }

export interface SearchResult<Action = unknown, Observation = unknown> {
  readonly tree: SearchTree<Action, Observation>
  /** Undefined where nothing has a value. */
  readonly best: SearchNode<Action, Observation> | undefined
  /** `exhausted`: the strategy had nothing left to select. */
  readonly reason: 'budget' | 'exhausted' | 'found' | 'aborted'
  readonly report: SearchReport
  /** New sandboxes in the state of a node. */
  fork(node: SearchNode<Action, Observation>, count?: number): Promise<Sandbox[]>
  /** All its checkpoints go, that of the root if it was taken for the search. What was forked of them stays. */
  remove(): Promise<void>
}

/** Milliseconds, over all nodes. */
export interface SearchReport {
  readonly nodes: number
  readonly failed: number
  readonly dropped: number
  /** From the beginning to the end of this run. */
  readonly wallMs: number
  readonly proposeMs: number
  readonly actMs: number
  readonly evaluateMs: number
  /** Rollbacks. */
  readonly goToMs: number
  readonly goToHiddenMs: number
  readonly checkpointMs: number
  readonly checkpointHiddenMs: number
  /** How long sandboxes stood still for checkpoints. */
  readonly blockingMs: number
  /** (what models, actions and evaluation took + what of rollbacks and checkpoints was waited for) / the former. */
  readonly overhead: number
  readonly usage: NodeUsage
  readonly failures: readonly { readonly id: number; readonly error: string }[]
}
