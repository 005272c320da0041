/** Finding checkpoints, what can be told of them, and removing them. */
import {
  type CheckpointInfo,
  type CheckpointList,
  type CheckpointState,
  DeltaBoxError,
  type Prefetched,
  type RelabelCheckpoint,
} from '@deltabox/protocol'
import type { CheckpointRow } from './checkpoint-table.js'
import type { ImageRow } from './image-table.js'
import type { LayerRow } from './layer-table.js'
import { findSandbox } from './sandboxes.js'
import type { State } from './state.js'
import { rounded } from './timings.js'

/** `cp-` and three letters. */
const PREFIX_MIN_LENGTH = 6

/** By id, or by the beginning of an id that only one checkpoint has. */
export function findCheckpoint(state: State, reference: string): CheckpointRow {
  const { checkpoints } = state.store
  const exact = checkpoints.get(reference)
  if (exact) return exact
  const isPrefix = reference.startsWith('cp-') && reference.length >= PREFIX_MIN_LENGTH
  const [first, ...others] = isPrefix ? checkpoints.byPrefix(reference) : []
  if (first && others.length === 0) return first
  throw new DeltaBoxError(
    'checkpoint_not_found',
    first
      ? `${JSON.stringify(reference)} is the beginning of ${others.length + 1} checkpoints’ ids: ${[first, ...others].map((row) => row.id).join(', ')}`
      : `no checkpoint has the id ${JSON.stringify(reference)}`,
    { details: { checkpoint: reference } },
  )
}

export function getCheckpoint(state: State, reference: string): CheckpointInfo {
  return infoOf(state, findCheckpoint(state, reference))
}

/** Those taken of the sandbox, oldest first. What forks took for themselves is not among them. */
export function listCheckpoints(state: State, reference: string): CheckpointList {
  const { id } = findSandbox(state, reference)
  const rows = state.store.checkpoints.ofSandbox(id)
  return { checkpoints: rows.filter((row) => !row.internal).map((row) => infoOf(state, row)) }
}

export function relabelCheckpoint(
  state: State,
  reference: string,
  { label }: RelabelCheckpoint,
): CheckpointInfo {
  const { id, sandbox } = findCheckpoint(state, reference)
  state.store.checkpoints.setLabel(id, label)
  state.events.emit({ type: 'checkpoint.relabelled', sandbox, checkpoint: id })
  return getCheckpoint(state, id)
}

/** Somebody will go there soon: its processes are in memory then, unless something else takes their room. */
export async function prefetchCheckpoint(state: State, reference: string): Promise<Prefetched> {
  const started = performance.now()
  const checkpoint = findCheckpoint(state, reference)
  const source = await state.images.prefetch(checkpoint, `prefetch ${checkpoint.id}`)
  return { checkpoint: checkpoint.id, source, ms: rounded(performance.now() - started) }
}

/** What others need of it stays; its children become its parent's. */
export async function removeCheckpoint(state: State, reference: string): Promise<void> {
  const checkpoint = findCheckpoint(state, reference)
  discardCheckpoint(state, checkpoint)
  await state.families.retire(checkpoint.family)
}

/** Its rows alone, in the caller's transaction. Gives the layers that are doomed with it. */
export function forgetCheckpoint({ store, layers }: State, checkpoint: CheckpointRow): LayerRow[] {
  const { id, parent, layer } = checkpoint
  store.checkpoints.moveParents(id, parent)
  store.sandboxes.movePositions(id, parent)
  store.layers.moveTargets(id, parent)
  store.checkpoints.remove(id)
  store.processes.forgetAll(id)
  return layers.doom(layer)
}

/** What others need of it stays. */
export function discardCheckpoint(state: State, checkpoint: CheckpointRow): void {
  const { id, parent, sandbox } = checkpoint
  const doomed = state.store.transaction(() => forgetCheckpoint(state, checkpoint))
  if (doomed.length > 0) state.layers.removeDoomed()
  state.images.release(checkpoint.image)
  state.log.info({ checkpoint: id, sandbox }, 'checkpoint removed')
  state.events.emit({ type: 'checkpoint.removed', sandbox, checkpoint: id })
  leaveCheckpoint(state, parent)
}

/** Nobody stands on it, and no other was taken from there. */
export function isUnneeded(state: State, { id }: CheckpointRow): boolean {
  const { sandboxes, checkpoints } = state.store
  return !sandboxes.isStoodOn(id) && checkpoints.children(id).length === 0
}

/** A sandbox or a checkpoint went from it: one that a fork took goes with the last. */
export function leaveCheckpoint(state: State, id: string | null): void {
  const checkpoint = id === null ? undefined : state.store.checkpoints.get(id)
  if (checkpoint?.internal && isUnneeded(state, checkpoint)) discardCheckpoint(state, checkpoint)
}

/** What it was taken for has failed: it goes, at the latest with the last that needs it. */
export function giveUpCheckpoint(state: State, id: string): void {
  state.store.checkpoints.setWanted(id, false)
  leaveCheckpoint(state, id)
}

/** How many checkpoints there are that were taken of a sandbox. */
export function countOf(state: State, sandbox: string): number {
  return state.store.checkpoints.ofSandbox(sandbox).filter((row) => !row.internal).length
}

/** The checkpoints taken of a sandbox go; what others stand on or came from goes with the last of those. */
export function removeUnneededOf(state: State, sandbox: string): number {
  // Children are younger than their parents.
  for (const row of state.store.checkpoints.ofSandbox(sandbox).reverse()) {
    const current = state.store.checkpoints.get(row.id)
    if (current && isUnneeded(state, current)) discardCheckpoint(state, current)
  }
  const left = countOf(state, sandbox)
  state.store.checkpoints.setInternal(sandbox)
  return left
}

/** Only what is durable is there after a power cut. */
function stateOf(state: State, row: CheckpointRow, image: ImageRow | undefined): CheckpointState {
  if (image?.state === 'failed' || image?.state === 'lost') return 'failed'
  if (row.durable && !state.upkeep.isUntold(row.id)) return 'durable'
  return image?.state === 'pending' ? 'pending' : 'ready'
}

export function infoOf(state: State, row: CheckpointRow): CheckpointInfo {
  const image = row.image === null ? undefined : state.store.images.get(row.image)
  return {
    id: row.id,
    sandbox: row.sandbox,
    parent: row.parent,
    label: row.label,
    createdAt: new Date(row.createdAt).toISOString(),
    unchanged: row.unchanged,
    blockingMs: row.blockingUsec / 1000,
    processes: row.processes,
    lost: state.images.isThere(row.image) ? 0 : row.processes,
    state: stateOf(state, row, image),
    ...(image?.reason ? { reason: image.reason } : {}),
    inMemory: image?.inMemory === true,
    imageBytes: image?.diskBytes ?? null,
    files: row.files,
    memoryBytes: row.memoryBytes,
    fileBytes: row.fileBytes,
    depth: state.store.layers.depth(row.layer),
  }
}
