/** A sandbox writes to another layer from now on: what that means for the one it wrote to before. */
import path from 'node:path'
import type { LayerSize } from '../deltafs/layer-store.js'
import { leaveCheckpoint } from './checkpoints.js'
import type { SandboxRow } from './sandbox-table.js'
import type { State } from './state.js'

/** The new head lies on the old one, which is never written again. */
export function freezeHead(
  state: State,
  sandbox: SandboxRow,
  head: string,
  checkpoint: string | null,
  isOnNewChain: boolean,
  size?: LayerSize,
): void {
  const { layers, sandboxes } = state.store
  state.store.transaction(() => {
    // A mount that was not moved off them goes on showing them below the old head.
    if (!isOnNewChain) for (const held of layers.heldBy(sandbox.head)) layers.hold(head, held)
    layers.freeze(sandbox.head, size)
    sandboxes.setHead(sandbox.id, head, checkpoint)
    state.layers.letGo(sandbox.head)
  })
}

/** The sandbox stands on another chain; what it wrote since it left its last one is given up. */
export function replaceHead(
  state: State,
  sandbox: SandboxRow,
  head: string,
  checkpoint: string | null,
): void {
  state.store.transaction(() => {
    moveTo(state, sandbox, head, checkpoint)
    state.layers.drop(sandbox.head)
  })
}

/** As `replaceHead`, but for the head it had: that has to be dropped. */
export function moveTo(state: State, sandbox: SandboxRow, head: string, checkpoint: string | null): void {
  state.store.sandboxes.setHead(sandbox.id, head, checkpoint)
  if (sandbox.checkpoint !== checkpoint) leaveCheckpoint(state, sandbox.checkpoint)
}

/**
 * The engine switched, and the daemon was killed before it wrote that down. A checkpoint that was being taken is not
 * registered: nobody was told of it. False when the store does not know the layer at all.
 */
export function settleHead(state: State, sandbox: SandboxRow, directory: string): boolean {
  const id = path.basename(directory)
  if (id === sandbox.head) return true
  const head = state.store.layers.get(id)
  if (head?.state !== 'head' || head.sandbox !== sandbox.id) return false
  if (head.parent === sandbox.head) freezeHead(state, sandbox, id, sandbox.checkpoint, false)
  else replaceHead(state, sandbox, id, head.target)
  state.log.info({ sandbox: sandbox.id, head: id }, 'a daemon stopped while it switched layers; settled')
  return true
}
