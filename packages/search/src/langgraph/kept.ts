/** What a graph's checkpoint knows of the machine. It lies with the wrapped saver, and so lives as long as the checkpoint itself. */
import type { CheckpointTuple } from '@langchain/langgraph-checkpoint'

/** The name in a checkpoint's metadata, and the channel among the writes of a task. */
export const KEPT = 'deltabox'

export interface Kept {
  /** The DeltaBox checkpoint. */
  readonly checkpoint: string
  /** The sandbox of the thread at that time. */
  readonly sandbox: string
  /** Milliseconds since 1970, later than those of any other one of the thread that was taken before. */
  readonly at: number
}

/** The machine when the checkpoint was made: before any node that runs on it. */
export function keptWith({ metadata }: CheckpointTuple): Kept | undefined {
  return (metadata as { [KEPT]?: Kept } | undefined)?.[KEPT]
}

/** The machine after each task that has finished on the checkpoint, while others have not. */
export function keptSince({ pendingWrites = [] }: CheckpointTuple): Kept[] {
  return pendingWrites.flatMap(([, channel, value]) => (channel === KEPT ? [value as Kept] : []))
}

export function latest(all: readonly (Kept | undefined)[]): Kept | undefined {
  return all.reduce((one, other) => (other && other.at > (one?.at ?? 0) ? other : one), undefined)
}

/** As the graph wrote it. */
export function withoutKept(tuple: CheckpointTuple): CheckpointTuple {
  const { pendingWrites } = tuple
  if (!pendingWrites) return tuple
  return { ...tuple, pendingWrites: pendingWrites.filter(([, channel]) => channel !== KEPT) }
}
