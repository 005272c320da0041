/** Commands that run again after a rollback, or in a fork: under their ids, as if they had never ended. */
import type { EngineProcess } from '../engine/messages.js'
import type { State } from './state.js'
import { armTimeLimit } from './time-limit.js'

/** What was known of them at the checkpoint is kept with it: its sandbox, and they in it, may be gone. */
export function keepCommands(state: State, sandbox: string, checkpoint: string): void {
  for (const { id } of state.store.processes.running(sandbox)) {
    state.store.processes.copy(sandbox, id, checkpoint)
  }
}

export function bringBack(
  state: State,
  sandbox: string,
  checkpoint: string,
  processes: readonly EngineProcess[],
): void {
  for (const { process: id, held } of processes) {
    const { store, running } = state
    if (!store.processes.setRunning(sandbox, id)) store.processes.copy(checkpoint, id, sandbox)
    if (running.get(sandbox, id)) continue
    const row = store.processes.get(sandbox, id)
    if (!row) continue
    running.add(sandbox, id, held).started = true
    if (row.deadline !== null && row.deadline > Date.now()) armTimeLimit(state, row)
  }
}
