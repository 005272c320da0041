/** Removing a sandbox, alive or dead, with everything that is left of it but its checkpoints. */
import type { RemovedSandbox, RemoveSandboxQuery } from '@deltabox/protocol'
import { removeTree } from '../deltafs/remove-tree.js'
import { EngineError, EngineLostError } from '../engine/client.js'
import { removeCgroups } from './cgroups.js'
import { countOf, leaveCheckpoint, removeUnneededOf } from './checkpoints.js'
import { explain } from './engine-errors.js'
import type { SandboxRow } from './sandbox-table.js'
import { findSandbox, labelOf } from './sandboxes.js'
import type { State } from './state.js'

export function destroySandbox(
  state: State,
  reference: string,
  query: RemoveSandboxQuery = {},
): Promise<RemovedSandbox> {
  const { id } = findSandbox(state, reference)
  return state.serial.run(id, async () => {
    const sandbox = findSandbox(state, id)
    state.store.sandboxes.setState(id, 'removing', sandbox.reason)
    try {
      return { checkpoints: await finishRemoval(state, sandbox, query.checkpoints === true) }
    } catch (error) {
      state.store.sandboxes.setState(id, 'dead', `its removal failed: ${(error as Error).message}`)
      throw explain(error, 'sandbox.destroy', `remove sandbox ${labelOf(sandbox)}`)
    }
  })
}

/** Also for a removal that a daemon began and did not end. Gives how many of its checkpoints are left. */
export async function finishRemoval(
  state: State,
  sandbox: SandboxRow,
  withCheckpoints = false,
): Promise<number> {
  await unmake(state, sandbox)
  const left = withCheckpoints ? removeUnneededOf(state, sandbox.id) : countOf(state, sandbox.id)
  state.log.info({ sandbox: sandbox.id, name: sandbox.name }, 'sandbox removed')
  state.events.emit({ type: 'sandbox.removed', sandbox: sandbox.id })
  await state.families.retire(sandbox.family)
  return left
}

/** All that there is of a sandbox, at whatever step its making stopped. */
export async function unmake(state: State, sandbox: SandboxRow): Promise<void> {
  await removeFromEngine(state, sandbox)
  await removeCgroups(state.log, sandbox.cgroups)
  await removeTree(state.families.sandboxDirectory(sandbox.family, sandbox.id))
  for (const process of state.store.processes.running(sandbox.id)) state.running.end(sandbox.id, process.id)
  state.store.transaction(() => {
    state.layers.drop(sandbox.head)
    // An engine that was lost may have been about to switch to another.
    const isLost = sandbox.state === 'dead'
    if (isLost) for (const head of state.store.layers.headsOf(sandbox.id)) state.layers.drop(head.id)
    state.store.forgetSandbox(sandbox.id)
    leaveCheckpoint(state, sandbox.checkpoint)
  })
}

/** The engine removes its directory as well; without an engine nothing of it runs any more. */
export async function removeFromEngine(state: State, sandbox: SandboxRow): Promise<void> {
  const family = state.families.get(sandbox.family)
  try {
    await family?.client.request('sandbox.destroy', { sandbox: sandbox.id, remove: true })
  } catch (error) {
    const unknown = error instanceof EngineError && error.code === 'no_such_sandbox'
    if (!unknown && !(error instanceof EngineLostError)) throw error
  }
}
