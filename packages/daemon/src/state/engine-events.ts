/** What engines tell unasked: a process or a sandbox ended, or the engine itself is gone. */
import type { EngineLostError } from '../engine/client.js'
import { killEngine } from '../engine/launch.js'
import type { EngineEvent } from '../engine/messages.js'
import { removeCgroups, removePoolCgroups } from './cgroups.js'
import { type Family, firstUid } from './families.js'
import { markLost, recordExit } from './process-end.js'
import type { State } from './state.js'

export function engineEvent(state: State, event: EngineEvent): void {
  if (event.event === 'process.exit') recordExit(state, event)
  else if (event.event === 'image.ready' || event.event === 'image.failed') state.images.tell(event)
  else markDead(state, event.sandbox, event.reason)
}

/** Its processes are gone and will not come back; its files stay until it is removed. */
export function markDead(state: State, sandbox: string, reason: string): void {
  if (state.store.sandboxes.get(sandbox)?.state !== 'running') return
  state.store.sandboxes.setState(sandbox, 'dead', reason)
  for (const process of state.store.processes.running(sandbox)) markLost(state, process)
  state.log.error({ sandbox, reason }, 'sandbox died')
  state.events.emit({ type: 'sandbox.dead', sandbox, reason })
}

export function familyLost(state: State, family: Family, error: EngineLostError): void {
  state.log.error({ engine: family.id, pid: family.pid, err: error }, 'engine lost')
  cleanUpLost(state, family).catch((fault) =>
    state.log.error({ engine: family.id, err: fault }, 'a lost engine leaves something behind'),
  )
}

/** What is left has names that the next engine gives again. */
async function cleanUpLost(state: State, family: Family): Promise<void> {
  const sandboxes = state.store.sandboxes.ofFamily(family.id)
  for (const sandbox of sandboxes) markDead(state, sandbox.id, 'its engine ended')
  await state.families.between(family.id, async () => {
    // The connection may have been closed for an engine that talks nonsense.
    await killEngine(family)
    for (const sandbox of sandboxes) await removeCgroups(state.log, sandbox.cgroups)
    const row = state.store.families.get(family.id)
    if (row) await removePoolCgroups(state.log, sandboxes, firstUid(row.slot))
  })
  await state.families.retire(family.id)
}
