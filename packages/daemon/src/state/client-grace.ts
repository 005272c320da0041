/**
 * A command that was not started detached waits for its client: the engine keeps what the client has not been sent, and
 * the command stops on a full pipe. A client that is gone gets some time to come back, then the command is let run.
 */
import type { ProcessRow } from './process-table.js'
import type { RunningProcess } from './running-process.js'
import type { State } from './state.js'

const GRACE_MS = 30_000

type Row = Pick<ProcessRow, 'sandbox' | 'id' | 'waitsForReader'>

export function clientCame(state: State, row: Row): void {
  const running = state.running.get(row.sandbox, row.id)
  if (!running) return
  running.clients += 1
  clearTimeout(running.clientGrace)
  if (row.waitsForReader && !running.held) setHold(state, row, running, true)
}

/** Also right after the start: nobody is there yet. */
export function clientLeft(state: State, row: Row): void {
  const running = state.running.get(row.sandbox, row.id)
  if (!running) return
  running.clients = Math.max(0, running.clients - 1)
  if (!running.held || running.clients > 0) return
  running.clientGrace = setTimeout(() => setHold(state, row, running, false), GRACE_MS)
}

function setHold(state: State, row: Row, running: RunningProcess, hold: boolean): void {
  const family = state.families.get(state.store.sandboxes.get(row.sandbox)?.family ?? '')
  running.held = hold
  family?.client
    .request('process.hold', { sandbox: row.sandbox, process: row.id, hold })
    .catch((error) =>
      state.log.warn({ sandbox: row.sandbox, process: row.id, err: error }, 'hold not changed'),
    )
}
