/** What a search has done, so that others can do the same. */
import type { SearchNode } from '@deltabox/search'

/** What the worker (repository.py) says about its state. */
export interface Told {
  readonly memory: string
  readonly files: string
}

/** In the state of the parent, what is drawn from the seed was done. */
export interface Expansion {
  readonly node: number
  readonly parent: number
  readonly seed: number
  /** Afterwards. */
  readonly told: Told
}

/** The root is node 0. */
export interface Trace {
  readonly root: Told
  /** In the order in which they were made. */
  readonly expansions: readonly Expansion[]
}

export function toldBy(answer: string): Told {
  const [memory, files, ...more] = answer.split(' ')
  if (!memory || !files || more.length > 0) throw new Error(`the worker tells ${JSON.stringify(answer)}`)
  return { memory, files }
}

/** What is not as it was to be; undefined where all is. */
export function difference(is: Told, should: Told, memoryCounts = true): string | undefined {
  const files = is.files === should.files ? [] : ['other files']
  const memory = is.memory === should.memory || !memoryCounts ? [] : ['other memory']
  const others = [...files, ...memory]
  return others.length > 0 ? `${others.join(' and ')} than recorded` : undefined
}

export function traceOf(root: Told, nodes: readonly SearchNode<number, Told>[]): Trace {
  const expansions = nodes.map(({ id, parent, action, observation }) => {
    if (parent === null || action === null || observation === null) throw new Error(`node ${id} was not made`)
    return { node: id, parent, seed: action, told: observation }
  })
  return { root, expansions }
}

/** By node, the last that begins in its state. */
export function lastUsesIn({ expansions }: Trace): Map<number, number> {
  return new Map(expansions.map(({ node, parent }) => [parent, node]))
}
