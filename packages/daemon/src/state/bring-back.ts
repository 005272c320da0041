/** Commands that run again after a rollback, or in a fork: under their ids, as if they had never ended. */
import type { EngineProcess } from '../engine/messages.js'
import type { State } from './state.js'
import { armTimeLimit } from './time-limit.js'

/** `of`: the sandbox that knows them, where this one does not. */
export function bringBack(
  state: State,
  sandbox: string,
  processes: readonly EngineProcess[],
  of: string = sandbox,
): void {
  for (const { process: id, held } of processes) {
    if (of !== sandbox) state.store.processes.copy(of, id, sandbox)
    state.store.processes.setRunning(sandbox, id)
    const row = state.store.processes.get(sandbox, id)
    if (!row || state.running.get(sandbox, id)) continue
    state.running.add(sandbox, id, held).started = true
    if (row.deadline !== null && row.deadline > Date.now()) armTimeLimit(state, row)
  }
}
