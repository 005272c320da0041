/** Removing a sandbox, alive or dead, with everything that is left of it. */
import { EngineError, EngineLostError } from '../engine/client.js'
import { removeCgroups } from './cgroups.js'
import { explain } from './engine-errors.js'
import { removeTree } from './remove-tree.js'
import type { SandboxRow } from './sandbox-table.js'
import { findSandbox, labelOf } from './sandboxes.js'
import type { State } from './state.js'

export function destroySandbox(state: State, reference: string): Promise<void> {
  const { id } = findSandbox(state, reference)
  return state.serial.run(id, async () => {
    const sandbox = findSandbox(state, id)
    state.store.sandboxes.setState(id, 'removing', sandbox.reason)
    try {
      await finishRemoval(state, sandbox)
    } catch (error) {
      state.store.sandboxes.setState(id, 'dead', `its removal failed: ${(error as Error).message}`)
      throw explain(error, 'sandbox.destroy', `remove sandbox ${labelOf(sandbox)}`)
    }
  })
}

/** Also for a removal that a daemon began and did not end. */
export async function finishRemoval(state: State, sandbox: SandboxRow): Promise<void> {
  await removeFromEngine(state, sandbox)
  await removeCgroups(state.log, sandbox.cgroups)
  await removeTree(state.families.sandboxDirectory(sandbox.engine, sandbox.id))
  for (const process of state.store.processes.running(sandbox.id)) state.running.end(sandbox.id, process.id)
  state.store.forgetSandbox(sandbox.id)
  if (state.store.sandboxes.ofEngine(sandbox.engine).length === 0) await endFamily(state, sandbox.engine)
  state.log.info({ sandbox: sandbox.id, name: sandbox.name }, 'sandbox removed')
  state.events.emit({ type: 'sandbox.removed', sandbox: sandbox.id })
}

/** The engine removes its directory as well; without an engine nothing of it runs any more. */
async function removeFromEngine(state: State, sandbox: SandboxRow): Promise<void> {
  const family = state.families.get(sandbox.engine)
  try {
    await family?.client.request('sandbox.destroy', { sandbox: sandbox.id, remove: true })
  } catch (error) {
    const unknown = error instanceof EngineError && error.code === 'no_such_sandbox'
    if (!unknown && !(error instanceof EngineLostError)) throw error
  }
}

async function endFamily(state: State, engine: string): Promise<void> {
  const family = state.families.get(engine)
  if (family) await state.families.end(family)
  else await state.families.discard(engine)
}
