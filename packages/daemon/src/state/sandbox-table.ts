import type Database from 'libsql'

/** `creating` and `removing` are never shown: after a crash they say what has to be undone or finished. */
export type SandboxRowState = 'creating' | 'running' | 'dead' | 'removing'

export interface SandboxRow {
  readonly id: string
  readonly name: string | null
  readonly engine: string
  readonly state: SandboxRowState
  readonly reason: string | null
  readonly base: string
  readonly workspace: string | null
  readonly cwd: string
  readonly net: 'none' | 'host'
  readonly env: Readonly<Record<string, string>>
  readonly memoryBytes: number | null
  readonly cpus: number | null
  readonly pids: number | null
  readonly diskBytes: number | null
  /** Directories on the host, to be removed by hand when the engine cannot. */
  readonly cgroups: readonly string[]
  /** Milliseconds since the epoch; taken before the engine looks at the workspace. */
  readonly createdAt: number
}

type Stored = Omit<SandboxRow, 'env' | 'cgroups'> & { env: string; cgroups: string }

const COLUMNS = `id, name, engine, state, reason, base, workspace, cwd, net, env, memory_bytes AS memoryBytes, cpus, pids,
  disk_bytes AS diskBytes, cgroups, created_at AS createdAt`

export class SandboxTable {
  readonly #insert: Database.Statement
  readonly #setRunning: Database.Statement
  readonly #setState: Database.Statement
  readonly #setName: Database.Statement
  readonly #get: Database.Statement
  readonly #byName: Database.Statement
  readonly #byPrefix: Database.Statement
  readonly #all: Database.Statement
  readonly #ofEngine: Database.Statement
  readonly #remove: Database.Statement

  constructor(db: Database.Database) {
    this.#insert = db.prepare(
      `INSERT INTO sandboxes (id, name, engine, state, base, workspace, cwd, net, env, memory_bytes, cpus, pids, disk_bytes,
         cgroups, created_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    )
    this.#setRunning = db.prepare(
      `UPDATE sandboxes SET state = 'running', memory_bytes = ?, pids = ?, cgroups = ? WHERE id = ?`,
    )
    this.#setState = db.prepare('UPDATE sandboxes SET state = ?, reason = ? WHERE id = ?')
    this.#setName = db.prepare('UPDATE sandboxes SET name = ? WHERE id = ?')
    this.#get = db.prepare(`SELECT ${COLUMNS} FROM sandboxes WHERE id = ?`)
    this.#byName = db.prepare(`SELECT ${COLUMNS} FROM sandboxes WHERE name = ?`)
    this.#byPrefix = db.prepare(`SELECT ${COLUMNS} FROM sandboxes WHERE substr(id, 1, length(?)) = ?`)
    this.#all = db.prepare(`SELECT ${COLUMNS} FROM sandboxes ORDER BY created_at, rowid`)
    this.#ofEngine = db.prepare(`SELECT ${COLUMNS} FROM sandboxes WHERE engine = ?`)
    this.#remove = db.prepare('DELETE FROM sandboxes WHERE id = ?')
  }

  insert(row: Omit<SandboxRow, 'reason'>): void {
    const { id, name, engine, state, base, workspace, cwd, net, memoryBytes, cpus, pids, diskBytes } = row
    const env = JSON.stringify(row.env)
    const cgroups = JSON.stringify(row.cgroups)
    this.#insert.run(
      ...[id, name, engine, state, base, workspace, cwd, net, env],
      ...[memoryBytes, cpus, pids, diskBytes, cgroups, row.createdAt],
    )
  }

  setRunning(id: string, made: Pick<SandboxRow, 'memoryBytes' | 'pids' | 'cgroups'>): void {
    this.#setRunning.run(made.memoryBytes, made.pids, JSON.stringify(made.cgroups), id)
  }

  setState(id: string, state: SandboxRowState, reason: string | null): void {
    this.#setState.run(state, reason, id)
  }

  setName(id: string, name: string): void {
    this.#setName.run(name, id)
  }

  get(id: string): SandboxRow | undefined {
    return rowOf(this.#get.get(id) as Stored | undefined)
  }

  byName(name: string): SandboxRow | undefined {
    return rowOf(this.#byName.get(name) as Stored | undefined)
  }

  byPrefix(prefix: string): SandboxRow[] {
    return (this.#byPrefix.all(prefix, prefix) as Stored[]).map(parse)
  }

  all(): SandboxRow[] {
    return (this.#all.all() as Stored[]).map(parse)
  }

  ofEngine(engine: string): SandboxRow[] {
    return (this.#ofEngine.all(engine) as Stored[]).map(parse)
  }

  remove(id: string): void {
    this.#remove.run(id)
  }
}

function rowOf(stored: Stored | undefined): SandboxRow | undefined {
  return stored && parse(stored)
}

function parse(stored: Stored): SandboxRow {
  return { ...stored, env: JSON.parse(stored.env), cgroups: JSON.parse(stored.cgroups) }
}
