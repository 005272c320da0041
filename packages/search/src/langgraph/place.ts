/** Where in a graph something is. A graph in a graph has a namespace of its own, below the one of the task that runs it. */
import type { RunnableConfig } from '@langchain/core/runnables'

/** The checkpoint that counts in each namespace, from the outermost one (`''`) inwards. */
export type Place = ReadonlyMap<string, string>

/** The task that a node is run as. */
export interface Task {
  /** What it runs on. */
  readonly place: Place
  readonly id: string
  /** The tasks that it is a part of. */
  readonly outer: readonly string[]
  /** Another object whenever it is run again. */
  readonly run: unknown
}

export function threadOf({ configurable }: RunnableConfig): string {
  const thread: unknown = configurable?.thread_id
  if (typeof thread !== 'string' || thread === '') throw new Error('the config has no thread_id')
  return thread
}

export function namespaceOf({ configurable }: RunnableConfig): string {
  return configurable?.checkpoint_ns ?? ''
}

export function idOf({ configurable }: RunnableConfig): string | undefined {
  return configurable?.checkpoint_id
}

/** Undefined outside of a run. */
export function taskOf({ configurable }: RunnableConfig): Task | undefined {
  const map: Record<string, string> | undefined = configurable?.checkpoint_map
  const namespace: string = configurable?.checkpoint_ns ?? ''
  if (!map || namespace === '') return undefined
  const outermostFirst = Object.entries(map)
    .filter(([own]) => own === '' || namespace.startsWith(`${own}|`))
    .sort(([one], [other]) => one.length - other.length)
  const place = new Map<string, string>()
  // A task that a task has called runs on the same checkpoint, which the map names twice.
  for (const [own, id] of outermostFirst) if (![...place.values()].includes(id)) place.set(own, id)
  const ids = namespace.split('|').flatMap((part) => part.split(':')[1] ?? [])
  return { place, id: ids.at(-1) ?? '', outer: ids.slice(0, -1), run: configurable?.__pregel_scratchpad }
}

export function placeOf(parents: Readonly<Record<string, string>> | undefined): Place {
  return new Map(Object.entries(parents ?? {}).sort(([one], [other]) => one.length - other.length))
}

export function innermost(place: Place): { namespace: string; id: string } | undefined {
  const last = [...place].at(-1)
  return last && { namespace: last[0], id: last[1] }
}

export function isBelow(namespace: string, other: string): boolean {
  return other === '' ? namespace !== '' : namespace.startsWith(`${other}|`)
}
