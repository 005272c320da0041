/** What an earlier program has left of a search: the tree as far as it is complete, and what was under way. */
import { type Checkpoint, type Client, DeltaBoxError, Sandbox } from 'deltabox'
import type { JournalHead, JournalLine } from './journal.js'
import { type Outcome, SearchTree } from './tree.js'
import { endSandbox } from './workers.js'

/** Children that were chosen together; those that were made already are there. */
export interface Batch<A, O> {
  readonly first: number
  readonly parents: readonly number[]
  readonly outcomes: Map<number, Outcome<A, O>>
}

export interface Left<A, O> {
  readonly head: JournalHead
  readonly tree: SearchTree<A, O>
  /** Those of which something is missing, and what was chosen after them. */
  readonly batches: Batch<A, O>[]
  /** Sandboxes that may still be there, by name. */
  readonly sandboxes: readonly string[]
}

export function replay<A, O>([head, ...rest]: readonly JournalLine<A, O>[]): Left<A, O> {
  if (head?.kind !== 'search') throw new Error('a search begins with its head')
  const tree = SearchTree.rooted<A, O>(head.root)
  const sandboxes: string[] = []
  const batches: Batch<A, O>[] = []
  for (const line of rest) {
    if (line.kind === 'workers') sandboxes.push(...line.sandboxes)
    else if (line.kind === 'selected') batches.push({ ...line, outcomes: new Map() })
    else if (line.kind === 'node')
      batchOf(batches, line.outcome.id)?.outcomes.set(line.outcome.id, line.outcome)
    else note(tree, line)
    for (let [next] = batches; next && isComplete(next); [next] = batches) {
      settle(tree, next)
      batches.shift()
    }
  }
  return { head, tree, batches, sandboxes }
}

function batchOf<A, O>(batches: readonly Batch<A, O>[], id: number): Batch<A, O> | undefined {
  return batches.find(({ first, parents }) => id >= first && id < first + parents.length)
}

function note<A, O>(tree: SearchTree<A, O>, line: JournalLine<A, O>): void {
  if (line.kind === 'dropped') for (const id of line.nodes) tree.node(id).dropped = true
  if (line.kind === 'lost') tree.lose(line.node, line.reason)
}

export function isComplete<A, O>({ parents, outcomes }: Batch<A, O>): boolean {
  return outcomes.size === parents.length
}

/** In the order in which they were chosen, however they came in. */
export function settle<A, O>(tree: SearchTree<A, O>, { first, parents, outcomes }: Batch<A, O>): void {
  for (const index of parents.keys()) {
    const outcome = outcomes.get(first + index)
    if (outcome) tree.add(outcome)
  }
}

export function checkpointsOf(those: Iterable<{ readonly checkpoint: string | null }>): Set<string> {
  return new Set([...those].flatMap(({ checkpoint }) => checkpoint ?? []))
}

export function outcomesOf<A, O>(batches: readonly Batch<A, O>[]): Outcome<A, O>[] {
  return batches.flatMap(({ outcomes }) => [...outcomes.values()])
}

/** The sandboxes go, and checkpoints that were taken and never came to be written down. */
export async function clearUp<A, O>({ tree, batches, sandboxes }: Left<A, O>, client: Client): Promise<void> {
  const keep = checkpointsOf([...tree.nodes, ...outcomesOf(batches)])
  for (const id of sandboxes) {
    try {
      await endSandbox(await Sandbox.connect(id, { client }), keep)
    } catch (error) {
      if (!(error instanceof DeltaBoxError && error.code === 'sandbox_not_found')) throw error
    }
  }
}

/** Undefined where it is not there any more. */
export async function findCheckpoint(id: string, client: Client): Promise<Checkpoint | undefined> {
  try {
    return await Sandbox.getCheckpoint(id, { client })
  } catch (error) {
    if (error instanceof DeltaBoxError && error.code === 'checkpoint_not_found') return undefined
    throw error
  }
}
