/** A node as it is seen while the search goes on: selected, under way, made. */
import type { Phase } from '../options.js'
import type { Outcome } from '../tree.js'

/** Of an outcome as of a node. */
export type Made<A, O> = Omit<Outcome<A, O>, 'parent'>

export interface Branch<A = unknown, O = unknown> {
  readonly id: number
  /** Null for the root. */
  readonly parent: number | null
  /** Undefined until it is made. */
  readonly made: Made<A, O> | undefined
  /** Of one that is being made; undefined while it waits for its turn. */
  readonly phase: Phase | undefined
}

/** From the root down to it. */
export function pathTo<A, O>(branches: ReadonlyMap<number, Branch<A, O>>, id: number): number[] {
  const path: number[] = []
  for (let at = branches.get(id); at; at = at.parent === null ? undefined : branches.get(at.parent)) {
    path.unshift(at.id)
  }
  return path
}

export function bestOf<A, O>(branches: Iterable<Branch<A, O>>): Branch<A, O> | undefined {
  let best: Branch<A, O> | undefined
  for (const branch of branches) {
    const { made } = branch
    if (!made || made.value === null || made.status === 'failed') continue
    if (made.value > (best?.made?.value ?? Number.NEGATIVE_INFINITY)) best = branch
  }
  return best
}
