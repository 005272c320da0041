import type Database from 'libsql'

export interface CheckpointRow {
  readonly id: string
  readonly family: string
  /** The sandbox it was taken of, which may be gone. */
  readonly sandbox: string
  readonly parent: string | null
  /** The top of its chain; null for the base itself. */
  readonly layer: string | null
  readonly label: string | null
  /** Taken for a fork, or not wanted any more: it goes with the last that stands on it or came from it. */
  readonly internal: boolean
  readonly unchanged: boolean
  readonly blockingUsec: number
  readonly processes: number
  readonly files: number
  /** Of the layer that was frozen; null until that is measured. */
  readonly fileBytes: number | null
  readonly memoryBytes: number
  /** The family's engine has its processes; not after that has ended. */
  readonly inMemory: boolean
  readonly createdAt: number
}

type Flag = 'internal' | 'unchanged' | 'inMemory'
type Stored = Omit<CheckpointRow, Flag> & Record<Flag, number>

const COLUMNS = `id, family, sandbox, parent, layer, label, internal, unchanged, blocking_usec AS blockingUsec, processes,
  files, file_bytes AS fileBytes, memory_bytes AS memoryBytes, in_memory AS inMemory, created_at AS createdAt`

export class CheckpointTable {
  readonly #insert: Database.Statement
  readonly #setLabel: Database.Statement
  readonly #setFileBytes: Database.Statement
  readonly #setInternal: Database.Statement
  readonly #moveParents: Database.Statement
  readonly #moveLayers: Database.Statement
  readonly #get: Database.Statement
  readonly #byPrefix: Database.Statement
  readonly #ofSandbox: Database.Statement
  readonly #ofFamily: Database.Statement
  readonly #children: Database.Statement
  readonly #internal: Database.Statement
  readonly #hasFamily: Database.Statement
  readonly #holdsProcesses: Database.Statement
  readonly #forgetProcesses: Database.Statement
  readonly #remove: Database.Statement

  constructor(db: Database.Database) {
    this.#insert = db.prepare(
      `INSERT INTO checkpoints (id, family, sandbox, parent, layer, label, internal, unchanged, blocking_usec, processes, files,
         file_bytes, memory_bytes, in_memory, created_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    )
    this.#setLabel = db.prepare('UPDATE checkpoints SET label = ? WHERE id = ?')
    this.#setFileBytes = db.prepare(
      'UPDATE checkpoints SET file_bytes = ? WHERE layer = ? AND file_bytes IS NULL',
    )
    this.#setInternal = db.prepare('UPDATE checkpoints SET internal = 1 WHERE sandbox = ?')
    this.#moveParents = db.prepare('UPDATE checkpoints SET parent = ? WHERE parent = ?')
    this.#moveLayers = db.prepare('UPDATE checkpoints SET layer = ? WHERE layer = ?')
    this.#get = db.prepare(`SELECT ${COLUMNS} FROM checkpoints WHERE id = ?`)
    this.#byPrefix = db.prepare(`SELECT ${COLUMNS} FROM checkpoints WHERE substr(id, 1, length(?)) = ?`)
    this.#ofSandbox = db.prepare(`SELECT ${COLUMNS} FROM checkpoints WHERE sandbox = ? ORDER BY rowid`)
    this.#ofFamily = db.prepare(`SELECT ${COLUMNS} FROM checkpoints WHERE family = ? ORDER BY rowid`)
    this.#children = db.prepare(`SELECT ${COLUMNS} FROM checkpoints WHERE parent = ?`)
    this.#internal = db.prepare(`SELECT ${COLUMNS} FROM checkpoints WHERE internal = 1`)
    this.#hasFamily = db.prepare('SELECT 1 FROM checkpoints WHERE family = ? LIMIT 1')
    this.#holdsProcesses = db.prepare('SELECT 1 FROM checkpoints WHERE family = ? AND in_memory = 1 LIMIT 1')
    this.#forgetProcesses = db.prepare('UPDATE checkpoints SET in_memory = 0 WHERE family = ?')
    this.#remove = db.prepare('DELETE FROM checkpoints WHERE id = ?')
  }

  insert(row: CheckpointRow): void {
    const { id, family, sandbox, parent, layer, label, blockingUsec, processes, files, fileBytes } = row
    this.#insert.run(
      ...[id, family, sandbox, parent, layer, label, Number(row.internal), Number(row.unchanged)],
      ...[blockingUsec, processes, files, fileBytes, row.memoryBytes, Number(row.inMemory), row.createdAt],
    )
  }

  setLabel(id: string, label: string | null): void {
    this.#setLabel.run(label, id)
  }

  setFileBytes(layer: string, bytes: number): void {
    this.#setFileBytes.run(bytes, layer)
  }

  /** Nobody wants those taken of the sandbox for themselves any more. */
  setInternal(sandbox: string): void {
    this.#setInternal.run(sandbox)
  }

  moveParents(from: string, to: string | null): void {
    this.#moveParents.run(to, from)
  }

  moveLayers(from: string, to: string): void {
    this.#moveLayers.run(to, from)
  }

  get(id: string): CheckpointRow | undefined {
    const stored = this.#get.get(id) as Stored | undefined
    return stored && parse(stored)
  }

  byPrefix(prefix: string): CheckpointRow[] {
    return (this.#byPrefix.all(prefix, prefix) as Stored[]).map(parse)
  }

  /** Oldest first. */
  ofSandbox(sandbox: string): CheckpointRow[] {
    return (this.#ofSandbox.all(sandbox) as Stored[]).map(parse)
  }

  ofFamily(family: string): CheckpointRow[] {
    return (this.#ofFamily.all(family) as Stored[]).map(parse)
  }

  children(parent: string): CheckpointRow[] {
    return (this.#children.all(parent) as Stored[]).map(parse)
  }

  internal(): CheckpointRow[] {
    return (this.#internal.all() as Stored[]).map(parse)
  }

  hasFamily(family: string): boolean {
    return this.#hasFamily.get(family) !== undefined
  }

  /** Whether the family's engine has processes of a checkpoint. */
  holdsProcesses(family: string): boolean {
    return this.#holdsProcesses.get(family) !== undefined
  }

  /** With the engine they are gone. */
  forgetProcesses(family: string): void {
    this.#forgetProcesses.run(family)
  }

  remove(id: string): void {
    this.#remove.run(id)
  }
}

function parse(stored: Stored): CheckpointRow {
  const { internal, unchanged, inMemory } = stored
  return { ...stored, internal: internal === 1, unchanged: unchanged === 1, inMemory: inMemory === 1 }
}
