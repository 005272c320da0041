/** A dead sandbox that is rolled back lives again, under its id and name, in a cell of its family's engine. */
import { mkdir } from 'node:fs/promises'
import { removeTree } from '../deltafs/remove-tree.js'
import type { Ok } from '../engine/messages.js'
import { openBase } from './base.js'
import { bringBack } from './bring-back.js'
import { removeCgroups } from './cgroups.js'
import { parametersOf } from './create.js'
import { removeFromEngine } from './destroy.js'
import { explain } from './engine-errors.js'
import { replaceHead } from './heads.js'
import type { NewLayer } from './layer-table.js'
import type { SandboxRow } from './sandbox-table.js'
import type { State } from './state.js'

/**
 * Until it lives it stays dead, whatever fails. What it had run is forgotten, but for what runs again: the output goes
 * with its directory.
 */
export function revive(
  state: State,
  sandbox: SandboxRow,
  { head, target, image }: { readonly head: NewLayer; readonly target: string; readonly image?: string },
  doing: string,
): Promise<Pick<Ok<'sandbox.rollback'>, 'stopped' | 'revived' | 'timings'>> {
  const { id, family } = sandbox
  return state.families.use(family, async (live) => {
    await openBase(state, live)
    await removeFromEngine(state, sandbox)
    await removeCgroups(state.log, sandbox.cgroups)
    const directory = state.families.sandboxDirectory(family, id)
    await removeTree(directory)
    await mkdir(directory, { mode: 0o700 })
    const parameters = {
      ...parametersOf(state, { id, setup: sandbox }, head),
      ...(image === undefined ? {} : { image }),
    }
    const { cgroups, processes, revived, timings } = await live.client
      .request('sandbox.create', parameters)
      .catch((error) => Promise.reject(explain(error, 'sandbox.rollback', doing)))
    state.store.transaction(() => {
      for (const row of state.store.processes.ofSandbox(id)) {
        if (!processes.some((one) => one.process === row.id)) state.store.processes.remove(id, row.id)
      }
      replaceHead(state, sandbox, head.id, state.store.layers.get(head.id)?.target ?? null)
      state.store.sandboxes.setState(id, 'running', null)
      state.store.sandboxes.setRunning(id, cgroups)
    })
    bringBack(state, id, target, processes)
    return { stopped: 0, revived, timings }
  })
}
