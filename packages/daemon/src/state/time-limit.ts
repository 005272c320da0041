/** A command's time limit, kept as a deadline so that it holds across a restart of the daemon. */
import type { ProcessRow } from './process-table.js'
import type { State } from './state.js'

/** The longest that a timer of Node's waits. */
const TIMER_MAX_MS = 2 ** 31 - 1
const SIGKILL = 9

export function armTimeLimit(state: State, row: Pick<ProcessRow, 'sandbox' | 'id' | 'deadline'>): void {
  const running = state.running.get(row.sandbox, row.id)
  if (!running || row.deadline === null) return
  const leftMs = row.deadline - Date.now()
  if (leftMs > TIMER_MAX_MS) {
    running.timeLimit = setTimeout(() => armTimeLimit(state, row), TIMER_MAX_MS)
  } else {
    running.timeLimit = setTimeout(() => timeIsUp(state, row), Math.max(0, leftMs))
  }
}

function timeIsUp(state: State, row: Pick<ProcessRow, 'sandbox' | 'id'>): void {
  const family = state.families.get(state.store.sandboxes.get(row.sandbox)?.family ?? '')
  if (!family) return
  state.store.processes.setTimedOut(row.sandbox, row.id)
  state.log.info({ sandbox: row.sandbox, process: row.id }, 'time limit reached; process group killed')
  family.client
    .request('process.signal', { sandbox: row.sandbox, process: row.id, signal: SIGKILL, group: true })
    .catch((error) =>
      state.log.warn({ sandbox: row.sandbox, process: row.id, err: error }, 'not killed at its time limit'),
    )
}
