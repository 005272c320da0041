import type Database from 'libsql'

/** What all sandboxes of a family have in common: what their base is made from, and what commands start with. */
export interface FamilySetup {
  readonly base: string
  readonly workspace: string | null
  readonly hostname: string
  /** Paths of the base that were asked to be hidden. */
  readonly masks: readonly string[]
  readonly net: 'none' | 'host'
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  readonly memoryBytes: number | null
  readonly cpus: number | null
  readonly pids: number | null
  readonly diskBytes: number | null
  /** Milliseconds since the epoch; taken before the engine looks at the workspace. */
  readonly since: number
}

export interface FamilyRow {
  readonly id: string
  /** Which range of host ids its sandboxes have. */
  readonly slot: number
  /** Absent while it has no engine, or none that is known to run. */
  readonly pid: number | null
  readonly startTicks: number | null
  /** Absent in one that was started ahead of need. */
  readonly setup: FamilySetup | null
}

type Stored = Omit<FamilyRow, 'setup'> & { setup: string | null }

const COLUMNS = 'id, slot, pid, start_ticks AS startTicks, setup'

export class FamilyTable {
  readonly #insert: Database.Statement
  readonly #setProcess: Database.Statement
  readonly #setSetup: Database.Statement
  readonly #get: Database.Statement
  readonly #all: Database.Statement
  readonly #remove: Database.Statement

  constructor(db: Database.Database) {
    this.#insert = db.prepare('INSERT INTO families (id, slot) VALUES (?, ?)')
    this.#setProcess = db.prepare('UPDATE families SET pid = ?, start_ticks = ? WHERE id = ?')
    this.#setSetup = db.prepare('UPDATE families SET setup = ? WHERE id = ?')
    this.#get = db.prepare(`SELECT ${COLUMNS} FROM families WHERE id = ?`)
    this.#all = db.prepare(`SELECT ${COLUMNS} FROM families ORDER BY rowid`)
    this.#remove = db.prepare('DELETE FROM families WHERE id = ?')
  }

  insert(id: string, slot: number): void {
    this.#insert.run(id, slot)
  }

  setProcess(id: string, process: { readonly pid: number; readonly startTicks: number } | undefined): void {
    this.#setProcess.run(process?.pid ?? null, process?.startTicks ?? null, id)
  }

  setSetup(id: string, setup: FamilySetup): void {
    this.#setSetup.run(JSON.stringify(setup), id)
  }

  get(id: string): FamilyRow | undefined {
    const stored = this.#get.get(id) as Stored | undefined
    return stored && parse(stored)
  }

  all(): FamilyRow[] {
    return (this.#all.all() as Stored[]).map(parse)
  }

  remove(id: string): void {
    this.#remove.run(id)
  }
}

function parse(stored: Stored): FamilyRow {
  return { ...stored, setup: stored.setup === null ? null : JSON.parse(stored.setup) }
}
