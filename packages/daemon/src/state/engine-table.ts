import type Database from 'libsql'

export interface EngineRow {
  readonly id: string
  /** Which range of host ids its sandboxes have. */
  readonly slot: number
  /** Absent until it is known to run. */
  readonly pid: number | null
  readonly startTicks: number | null
  /** Started ahead of need, without a sandbox. */
  readonly spare: boolean
}

interface Stored {
  id: string
  slot: number
  pid: number | null
  start_ticks: number | null
  spare: number
}

export class EngineTable {
  readonly #insert: Database.Statement
  readonly #setProcess: Database.Statement
  readonly #setSpare: Database.Statement
  readonly #get: Database.Statement
  readonly #all: Database.Statement
  readonly #remove: Database.Statement

  constructor(db: Database.Database) {
    this.#insert = db.prepare('INSERT INTO engines (id, slot, spare) VALUES (?, ?, ?)')
    this.#setProcess = db.prepare('UPDATE engines SET pid = ?, start_ticks = ? WHERE id = ?')
    this.#setSpare = db.prepare('UPDATE engines SET spare = ? WHERE id = ?')
    this.#get = db.prepare('SELECT * FROM engines WHERE id = ?')
    this.#all = db.prepare('SELECT * FROM engines')
    this.#remove = db.prepare('DELETE FROM engines WHERE id = ?')
  }

  insert(id: string, slot: number, spare: boolean): void {
    this.#insert.run(id, slot, Number(spare))
  }

  setProcess(id: string, pid: number, startTicks: number): void {
    this.#setProcess.run(pid, startTicks, id)
  }

  setSpare(id: string, spare: boolean): void {
    this.#setSpare.run(Number(spare), id)
  }

  get(id: string): EngineRow | undefined {
    const stored = this.#get.get(id) as Stored | undefined
    return stored && rowOf(stored)
  }

  all(): EngineRow[] {
    return (this.#all.all() as Stored[]).map(rowOf)
  }

  remove(id: string): void {
    this.#remove.run(id)
  }
}

function rowOf(stored: Stored): EngineRow {
  const { id, slot, pid, start_ticks: startTicks, spare } = stored
  return { id, slot, pid, startTicks, spare: spare === 1 }
}
