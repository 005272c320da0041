/** Recording that a process ended, once, whoever notices. */
import os from 'node:os'
import type { ProcessEnd, ProcessRow } from './process-table.js'
import type { ProcessExit } from './running-process.js'
import type { State } from './state.js'

/** Ended processes of a sandbox whose status and output can still be asked for. */
const KEPT_ENDED = 200

export function recordExit(state: State, exit: ProcessExit): void {
  const row = state.store.processes.get(exit.sandbox, exit.process)
  if (row?.state !== 'running') return
  const running = state.running.get(row.sandbox, row.id)
  if (running && !running.started) {
    running.exitBeforeStart = exit
    return
  }
  state.store.processes.setExited(row.sandbox, row.id, endOf(exit), Date.now())
  announceEnd(state, row)
  forgetSurplus(state, row.sandbox)
}

/** How it ended will never be known: its engine is gone. */
export function markLost(state: State, row: ProcessRow): void {
  state.store.processes.setLost(row.sandbox, row.id, Date.now())
  announceEnd(state, row)
}

function announceEnd(state: State, row: ProcessRow): void {
  state.running.end(row.sandbox, row.id)
  state.log.debug({ sandbox: row.sandbox, process: row.id }, 'process ended')
  state.events.emit({ type: 'process.exited', sandbox: row.sandbox, process: row.id })
}

function endOf(exit: Omit<ProcessExit, 'event'>): ProcessEnd {
  return {
    exitCode: exit.exitCode ?? null,
    signal: exit.signal === undefined ? null : signalName(exit.signal),
    oomKilled: exit.oomKilled,
    written: exit.written,
  }
}

function signalName(number: number): string {
  const known = Object.entries(os.constants.signals).find(([, value]) => value === number)
  return known?.[0] ?? `SIG${number}`
}

function forgetSurplus(state: State, sandbox: string): void {
  const family = state.families.get(state.store.sandboxes.get(sandbox)?.family ?? '')
  for (const row of state.store.processes.surplus(sandbox, KEPT_ENDED)) {
    state.store.processes.remove(sandbox, row.id)
    family?.client
      .request('process.forget', { sandbox, process: row.id })
      .catch((error) =>
        state.log.warn({ sandbox, process: row.id, err: error }, 'an ended process is not forgotten'),
      )
  }
}
