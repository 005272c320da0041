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
  /** Its processes; null where there were none. One that changed nothing has that of its parent. */
  readonly image: string | null
  /** It is there after a power cut. */
  readonly durable: boolean
  readonly createdAt: number
}

type Flag = 'internal' | 'unchanged' | 'durable'
type Stored = Omit<CheckpointRow, Flag> & Record<Flag, number>

const COLUMNS = `id, family, sandbox, parent, layer, label, internal, unchanged, blocking_usec AS blockingUsec, processes,
  files, file_bytes AS fileBytes, memory_bytes AS memoryBytes, image, durable, created_at AS createdAt`

export class CheckpointTable {
  readonly #insert: Database.Statement
  readonly #setLabel: Database.Statement
  readonly #setFileBytes: Database.Statement
  readonly #setInternal: Database.Statement
  readonly #setWanted: Database.Statement
  readonly #moveParents: Database.Statement
  readonly #moveLayers: Database.Statement
  readonly #get: Database.Statement
  readonly #byPrefix: Database.Statement
  readonly #ofSandbox: Database.Statement
  readonly #ofFamily: Database.Statement
  readonly #children: Database.Statement
  readonly #internal: Database.Statement
  readonly #hasFamily: Database.Statement
  readonly #withImage: Database.Statement
  readonly #volatile: Database.Statement
  readonly #setDurable: Database.Statement
  readonly #setVolatile: Database.Statement
  readonly #all: Database.Statement
  readonly #counts: Database.Statement
  readonly #remove: Database.Statement

  constructor(db: Database.Database) {
    this.#insert = db.prepare(
      `INSERT INTO checkpoints (id, family, sandbox, parent, layer, label, internal, unchanged, blocking_usec, processes, files,
         file_bytes, memory_bytes, image, durable, created_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    )
    this.#setLabel = db.prepare('UPDATE checkpoints SET label = ? WHERE id = ?')
    this.#setFileBytes = db.prepare(
      'UPDATE checkpoints SET file_bytes = ? WHERE layer = ? AND file_bytes IS NULL',
    )
    this.#setInternal = db.prepare('UPDATE checkpoints SET internal = 1 WHERE sandbox = ?')
    this.#setWanted = db.prepare('UPDATE checkpoints SET internal = ? WHERE id = ?')
    this.#moveParents = db.prepare('UPDATE checkpoints SET parent = ? WHERE parent = ?')
    this.#moveLayers = db.prepare('UPDATE checkpoints SET layer = ? WHERE layer = ?')
    this.#get = db.prepare(`SELECT ${COLUMNS} FROM checkpoints WHERE id = ?`)
    this.#byPrefix = db.prepare(`SELECT ${COLUMNS} FROM checkpoints WHERE substr(id, 1, length(?)) = ?`)
    this.#ofSandbox = db.prepare(`SELECT ${COLUMNS} FROM checkpoints WHERE sandbox = ? ORDER BY rowid`)
    this.#ofFamily = db.prepare(`SELECT ${COLUMNS} FROM checkpoints WHERE family = ? ORDER BY rowid`)
    this.#children = db.prepare(`SELECT ${COLUMNS} FROM checkpoints WHERE parent = ?`)
    this.#internal = db.prepare(`SELECT ${COLUMNS} FROM checkpoints WHERE internal = 1`)
    this.#hasFamily = db.prepare('SELECT 1 FROM checkpoints WHERE family = ? LIMIT 1')
    this.#withImage = db.prepare(`SELECT ${COLUMNS} FROM checkpoints WHERE image = ?`)
    this.#volatile = db.prepare(`SELECT ${COLUMNS} FROM checkpoints WHERE durable = 0`)
    this.#setDurable = db.prepare('UPDATE checkpoints SET durable = 1 WHERE id = ?')
    this.#setVolatile = db.prepare('UPDATE checkpoints SET durable = 0 WHERE image = ?')
    this.#all = db.prepare(`SELECT ${COLUMNS} FROM checkpoints ORDER BY rowid`)
    this.#counts = db.prepare(
      `SELECT CASE WHEN images.state IN ('failed', 'lost') THEN 'failed' WHEN durable = 1 THEN 'durable'
         WHEN images.state = 'pending' THEN 'pending' ELSE 'ready' END AS state, count(*) AS count
       FROM checkpoints LEFT JOIN images ON images.id = checkpoints.image GROUP BY 1`,
    )
    this.#remove = db.prepare('DELETE FROM checkpoints WHERE id = ?')
  }

  insert(row: CheckpointRow): void {
    const { id, family, sandbox, parent, layer, label, blockingUsec, processes, files, fileBytes } = row
    this.#insert.run(
      ...[id, family, sandbox, parent, layer, label, Number(row.internal), Number(row.unchanged)],
      ...[blockingUsec, processes, files, fileBytes, row.memoryBytes, row.image, Number(row.durable)],
      row.createdAt,
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

  /** Whether it is wanted for itself, or goes with the last that needs it. */
  setWanted(id: string, wanted: boolean): void {
    this.#setWanted.run(Number(!wanted), id)
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

  withImage(image: string): CheckpointRow[] {
    return (this.#withImage.all(image) as Stored[]).map(parse)
  }

  /** Those that a power cut would take. */
  volatile(): CheckpointRow[] {
    return (this.#volatile.all() as Stored[]).map(parse)
  }

  setDurable(id: string): void {
    this.#setDurable.run(id)
  }

  /** Their image is not on disk any more, though it is to be. */
  setVolatile(image: string): void {
    this.#setVolatile.run(image)
  }

  all(): CheckpointRow[] {
    return (this.#all.all() as Stored[]).map(parse)
  }

  /** By what is told of their state. */
  counts(): Record<string, number> {
    const rows = this.#counts.all() as { state: string; count: number }[]
    return Object.fromEntries(rows.map(({ state, count }) => [state, count]))
  }

  remove(id: string): void {
    this.#remove.run(id)
  }
}

function parse(stored: Stored): CheckpointRow {
  const { internal, unchanged, durable } = stored
  return { ...stored, internal: internal === 1, unchanged: unchanged === 1, durable: durable === 1 }
}
