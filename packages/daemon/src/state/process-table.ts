import type Database from 'libsql'

export interface ProcessRow {
  /** Or a checkpoint that has it. */
  readonly sandbox: string
  readonly id: string
  /** Absent while it is being started. */
  readonly pid: number | null
  readonly command: readonly string[]
  readonly state: 'running' | 'exited' | 'lost'
  readonly tty: boolean
  /** Not started detached: what no reader has seen holds it up. */
  readonly waitsForReader: boolean
  /** Milliseconds since the epoch. */
  readonly deadline: number | null
  readonly exitCode: number | null
  readonly signal: string | null
  readonly timedOut: boolean
  readonly oomKilled: boolean
  readonly diskKilled: boolean
  /** Bytes of each stream when it ended: what its background children write later is not its own. */
  readonly written: readonly [number, number] | null
  readonly startedAt: number
  readonly endedAt: number | null
}

export type ProcessEnd = Pick<ProcessRow, 'exitCode' | 'signal' | 'oomKilled' | 'written'>

interface Stored {
  sandbox: string
  id: string
  pid: number | null
  command: string
  state: ProcessRow['state']
  tty: number
  waits_for_reader: number
  deadline: number | null
  exit_code: number | null
  signal: string | null
  timed_out: number
  oom_killed: number
  disk_killed: number
  written: string | null
  started_at: number
  ended_at: number | null
}

const ENDED = "state <> 'running'"

export class ProcessTable {
  readonly #insert: Database.Statement
  readonly #setPid: Database.Statement
  readonly #setTimedOut: Database.Statement
  readonly #setDiskKilled: Database.Statement
  readonly #setExited: Database.Statement
  readonly #setLost: Database.Statement
  readonly #setRunning: Database.Statement
  readonly #copy: Database.Statement
  readonly #get: Database.Statement
  readonly #ofSandbox: Database.Statement
  readonly #running: Database.Statement
  readonly #surplus: Database.Statement
  readonly #remove: Database.Statement
  readonly #forgetAll: Database.Statement

  constructor(db: Database.Database) {
    this.#insert = db.prepare(
      `INSERT INTO processes (sandbox, id, command, state, tty, waits_for_reader, deadline, timed_out, oom_killed, disk_killed,
         started_at)
       VALUES (?, ?, ?, 'running', ?, ?, ?, 0, 0, 0, ?)`,
    )
    this.#setPid = db.prepare('UPDATE processes SET pid = ? WHERE sandbox = ? AND id = ?')
    this.#setTimedOut = db.prepare('UPDATE processes SET timed_out = 1 WHERE sandbox = ? AND id = ?')
    this.#setDiskKilled = db.prepare(
      "UPDATE processes SET disk_killed = 1 WHERE sandbox = ? AND state = 'running'",
    )
    this.#setExited = db.prepare(
      `UPDATE processes SET state = 'exited', exit_code = ?, signal = ?, oom_killed = ?, written = ?, ended_at = ?
       WHERE sandbox = ? AND id = ?`,
    )
    this.#setLost = db.prepare(
      "UPDATE processes SET state = 'lost', ended_at = ? WHERE sandbox = ? AND id = ?",
    )
    this.#setRunning = db.prepare(
      `UPDATE processes SET state = 'running', exit_code = NULL, signal = NULL, timed_out = 0, oom_killed = 0, disk_killed = 0,
         written = NULL, ended_at = NULL
       WHERE sandbox = ? AND id = ?`,
    )
    this.#copy = db.prepare(
      `INSERT OR REPLACE INTO processes (sandbox, id, pid, command, state, tty, waits_for_reader, deadline, timed_out, oom_killed,
         disk_killed, started_at)
       SELECT ?, id, pid, command, 'running', tty, waits_for_reader, deadline, 0, 0, 0, started_at
       FROM processes WHERE sandbox = ? AND id = ?`,
    )
    this.#get = db.prepare('SELECT * FROM processes WHERE sandbox = ? AND id = ?')
    this.#ofSandbox = db.prepare('SELECT * FROM processes WHERE sandbox = ? ORDER BY rowid')
    this.#running = db.prepare(
      "SELECT * FROM processes WHERE sandbox = ? AND state = 'running' ORDER BY rowid",
    )
    this.#surplus = db.prepare(
      `SELECT * FROM processes WHERE sandbox = ? AND ${ENDED} ORDER BY ended_at DESC, rowid DESC LIMIT -1 OFFSET ?`,
    )
    this.#remove = db.prepare('DELETE FROM processes WHERE sandbox = ? AND id = ?')
    this.#forgetAll = db.prepare('DELETE FROM processes WHERE sandbox = ?')
  }

  insert(
    row: Pick<ProcessRow, 'sandbox' | 'id' | 'command' | 'tty' | 'waitsForReader' | 'deadline' | 'startedAt'>,
  ): void {
    const { sandbox, id, tty, waitsForReader, deadline, startedAt } = row
    const command = JSON.stringify(row.command)
    this.#insert.run(sandbox, id, command, Number(tty), Number(waitsForReader), deadline, startedAt)
  }

  setPid(sandbox: string, id: string, pid: number): void {
    this.#setPid.run(pid, sandbox, id)
  }

  setTimedOut(sandbox: string, id: string): void {
    this.#setTimedOut.run(sandbox, id)
  }

  /** All that run in the sandbox: its disk limit ends them together. */
  setDiskKilled(sandbox: string): void {
    this.#setDiskKilled.run(sandbox)
  }

  setExited(sandbox: string, id: string, end: ProcessEnd, endedAt: number): void {
    const written = end.written && JSON.stringify(end.written)
    this.#setExited.run(end.exitCode, end.signal, Number(end.oomKilled), written, endedAt, sandbox, id)
  }

  setLost(sandbox: string, id: string, endedAt: number): void {
    this.#setLost.run(endedAt, sandbox, id)
  }

  /** It runs again. False where nothing is known of it. */
  setRunning(sandbox: string, id: string): boolean {
    return this.#setRunning.run(sandbox, id).changes > 0
  }

  /** A checkpoint, or a sandbox in its state, has it too: there it runs. */
  copy(from: string, id: string, to: string): void {
    this.#copy.run(to, from, id)
  }

  get(sandbox: string, id: string): ProcessRow | undefined {
    const stored = this.#get.get(sandbox, id) as Stored | undefined
    return stored && rowOf(stored)
  }

  /** Oldest first. */
  ofSandbox(sandbox: string): ProcessRow[] {
    return (this.#ofSandbox.all(sandbox) as Stored[]).map(rowOf)
  }

  running(sandbox: string): ProcessRow[] {
    return (this.#running.all(sandbox) as Stored[]).map(rowOf)
  }

  /** The ended ones beyond the `keep` that ended last. */
  surplus(sandbox: string, keep: number): ProcessRow[] {
    return (this.#surplus.all(sandbox, keep) as Stored[]).map(rowOf)
  }

  remove(sandbox: string, id: string): void {
    this.#remove.run(sandbox, id)
  }

  forgetAll(sandbox: string): void {
    this.#forgetAll.run(sandbox)
  }
}

function rowOf(stored: Stored): ProcessRow {
  return {
    sandbox: stored.sandbox,
    id: stored.id,
    pid: stored.pid,
    command: JSON.parse(stored.command),
    state: stored.state,
    tty: stored.tty === 1,
    waitsForReader: stored.waits_for_reader === 1,
    deadline: stored.deadline,
    exitCode: stored.exit_code,
    signal: stored.signal,
    timedOut: stored.timed_out === 1,
    oomKilled: stored.oom_killed === 1,
    diskKilled: stored.disk_killed === 1,
    written: stored.written === null ? null : JSON.parse(stored.written),
    startedAt: stored.started_at,
    endedAt: stored.ended_at,
  }
}
