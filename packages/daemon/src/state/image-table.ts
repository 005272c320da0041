/** The processes of checkpoints, as engines keep them and as they are on disk. */
import type Database from 'libsql'
import { prepareAll } from './statements.js'

/**
 * `pending`: its templates are being built. `ready`: they can be, or have been. `failed`: they could not be built. `lost`: its engine
 * ended before it was on disk.
 */
export type ImageState = 'pending' | 'ready' | 'failed' | 'lost'

export interface ImageRow {
  readonly id: string
  readonly family: string
  readonly state: ImageState
  /** Why it failed, or is not on disk. */
  readonly reason: string | null
  /** The family's engine has it. */
  readonly inMemory: boolean
  /** It is to be brought to disk. */
  readonly toDisk: boolean
  /** Bytes of its file; null while there is none. */
  readonly diskBytes: number | null
  /** What it takes of memory beyond what it shares; while it is there. */
  readonly memoryBytes: number
  /** When somebody went back to it last, or it was taken; milliseconds. */
  readonly usedAt: number
}

type Flag = 'inMemory' | 'toDisk'
type Stored = Omit<ImageRow, Flag> & Record<Flag, number>

const COLUMNS = `id, family, state, reason, in_memory AS inMemory, to_disk AS toDisk, disk_bytes AS diskBytes,
  memory_bytes AS memoryBytes, used_at AS usedAt`

/** Those of checkpoints, and whatever has pages of those. */
const NEEDED = `WITH RECURSIVE needed (id) AS (
    SELECT image FROM checkpoints WHERE image IS NOT NULL
    UNION
    SELECT needs FROM image_needs JOIN needed ON image_needs.image = needed.id
  )`

const SQL = {
  insert: `INSERT INTO images (id, family, state, in_memory, to_disk, memory_bytes, used_at) VALUES (?, ?, 'pending', 1, ?, ?, ?)`,
  get: `SELECT ${COLUMNS} FROM images WHERE id = ?`,
  all: `SELECT ${COLUMNS} FROM images ORDER BY rowid`,
  ofFamily: `SELECT ${COLUMNS} FROM images WHERE family = ? ORDER BY rowid`,
  setState: 'UPDATE images SET state = ?, reason = ? WHERE id = ?',
  setInMemory: 'UPDATE images SET in_memory = ?, memory_bytes = ? WHERE id = ?',
  setMemoryBytes: 'UPDATE images SET memory_bytes = ? WHERE id = ?',
  setOnDisk: `UPDATE images SET disk_bytes = ?, reason = NULL, state = CASE state WHEN 'lost' THEN 'ready' ELSE state END
    WHERE id = ?`,
  setOffDisk: 'UPDATE images SET disk_bytes = NULL, reason = NULL WHERE id = ?',
  adopt: `INSERT INTO images (id, family, state, in_memory, to_disk, memory_bytes, used_at) VALUES (?, ?, 'ready', 0, 1, 0, ?)`,
  setToDisk: 'UPDATE images SET to_disk = 1 WHERE id = ?',
  setUsed: 'UPDATE images SET used_at = ? WHERE id = ?',
  need: 'INSERT OR IGNORE INTO image_needs (image, needs) VALUES (?, ?)',
  needs: 'SELECT image, needs FROM image_needs',
  needsOf: 'SELECT needs FROM image_needs WHERE image = ?',
  needers: 'SELECT count(*) AS count FROM image_needs WHERE needs = ?',
  unneeded: `${NEEDED} SELECT ${COLUMNS} FROM images WHERE id NOT IN needed ORDER BY images.rowid DESC`,
  isWanted: 'SELECT 1 FROM checkpoints WHERE image = ? LIMIT 1',
  resident: `SELECT ${COLUMNS} FROM images WHERE in_memory = 1 ORDER BY used_at`,
  residentTotals: `SELECT count(*) AS count, coalesce(sum(memory_bytes), 0) AS bytes FROM images WHERE in_memory = 1`,
  unwritten: `SELECT coalesce(sum(memory_bytes), 0) AS bytes FROM images
    WHERE in_memory = 1 AND to_disk = 1 AND disk_bytes IS NULL AND state IN ('pending', 'ready')`,
  holds: `SELECT 1 FROM images JOIN checkpoints ON checkpoints.image = images.id
    WHERE images.family = ? AND in_memory = 1 LIMIT 1`,
  onDisk:
    'SELECT count(*) AS count, coalesce(sum(disk_bytes), 0) AS bytes FROM images WHERE disk_bytes IS NOT NULL',
  pinned: `SELECT 1 FROM sandboxes JOIN checkpoints ON checkpoints.id = sandboxes.checkpoint
    WHERE checkpoints.image = ? AND sandboxes.state != 'dead' LIMIT 1`,
  growing: `SELECT 1 FROM checkpoints above JOIN checkpoints below ON above.parent = below.id JOIN images ON images.id = above.image
    WHERE below.image = ? AND above.image != below.image AND images.in_memory = 1 AND images.to_disk = 1
      AND images.disk_bytes IS NULL AND images.state IN ('pending', 'ready') LIMIT 1`,
  lose: `UPDATE images SET state = 'lost', reason = 'its engine ended before it was on disk'
    WHERE family = ? AND in_memory = 1 AND disk_bytes IS NULL AND state IN ('pending', 'ready')`,
  loseOne: `UPDATE images SET state = 'lost', reason = 'its engine ended before it was on disk'
    WHERE id = ? AND state IN ('pending', 'ready')`,
  forgetMemory: 'UPDATE images SET in_memory = 0, memory_bytes = 0 WHERE family = ?',
  forgetNeeds: 'DELETE FROM image_needs WHERE image = ?',
  remove: 'DELETE FROM images WHERE id = ?',
  forgetFamilyNeeds: 'DELETE FROM image_needs WHERE image IN (SELECT id FROM images WHERE family = ?)',
  forgetFamily: 'DELETE FROM images WHERE family = ?',
} as const

type StatementName = keyof typeof SQL

export class ImageTable {
  readonly #statements: Readonly<Record<StatementName, Database.Statement>>

  constructor(db: Database.Database) {
    this.#statements = prepareAll(db, SQL)
  }

  insert({
    id,
    family,
    toDisk,
    memoryBytes,
  }: Pick<ImageRow, 'id' | 'family' | 'toDisk' | 'memoryBytes'>): void {
    this.#statements.insert.run(id, family, Number(toDisk), memoryBytes, Date.now())
  }

  get(id: string): ImageRow | undefined {
    const stored = this.#statements.get.get(id) as Stored | undefined
    return stored && parse(stored)
  }

  all(): ImageRow[] {
    return this.#rows('all')
  }

  /** Oldest first: what an image needs stands before it. */
  ofFamily(family: string): ImageRow[] {
    return this.#rows('ofFamily', family)
  }

  setState(id: string, state: ImageState, reason: string | null = null): void {
    this.#statements.setState.run(state, reason, id)
  }

  setInMemory(id: string, inMemory: boolean, memoryBytes = 0): void {
    this.#statements.setInMemory.run(Number(inMemory), memoryBytes, id)
  }

  setMemoryBytes(id: string, bytes: number): void {
    this.#statements.setMemoryBytes.run(bytes, id)
  }

  /** Its file is whole, and has pages in the files of those that it needs. */
  setOnDisk(id: string, bytes: number, needs: readonly string[]): void {
    this.#statements.setOnDisk.run(bytes, id)
    for (const other of needs) this.#statements.need.run(id, other)
  }

  /** Its file is gone, and is to be written again. */
  setOffDisk(id: string): void {
    this.#statements.setOffDisk.run(id)
    this.#statements.forgetNeeds.run(id)
  }

  /** Of a file that is there. */
  adopt(id: string, family: string): void {
    this.#statements.adopt.run(id, family, Date.now())
  }

  setToDisk(id: string): void {
    this.#statements.setToDisk.run(id)
  }

  setUsed(id: string): void {
    this.#statements.setUsed.run(Date.now(), id)
  }

  needsOf(id: string): string[] {
    return (this.#statements.needsOf.all(id) as { needs: string }[]).map(({ needs }) => needs)
  }

  /** How many have pages in its file. */
  needers(id: string): number {
    return (this.#statements.needers.get(id) as { count: number }).count
  }

  /** All that is known of which image has pages in the file of which other. */
  needs(): { readonly image: string; readonly needs: string }[] {
    return this.#statements.needs.all() as { image: string; needs: string }[]
  }

  /** No checkpoint has them, nor one that has pages in their files. What needs others stands before those. */
  unneeded(): ImageRow[] {
    return this.#rows('unneeded')
  }

  /** A checkpoint has it. */
  isWanted(id: string): boolean {
    return this.#statements.isWanted.get(id) !== undefined
  }

  /** In memory; what was not used for longest first. */
  resident(): ImageRow[] {
    return this.#rows('resident')
  }

  residentTotals(): { readonly count: number; readonly bytes: number } {
    return this.#statements.residentTotals.get() as { count: number; bytes: number }
  }

  /** Of those that are still to be brought to disk. */
  unwrittenBytes(): number {
    return (this.#statements.unwritten.get() as { bytes: number }).bytes
  }

  onDisk(): { readonly count: number; readonly bytes: number } {
    return this.#statements.onDisk.get() as { count: number; bytes: number }
  }

  /** A live sandbox stands on it: what it changes is told by it. */
  isStoodOn(id: string): boolean {
    return this.#statements.pinned.get(id) !== undefined
  }

  /** One that has come from it is not on disk yet: its file will tell only of what is new. */
  isGrownFrom(id: string): boolean {
    return this.#statements.growing.get(id) !== undefined
  }

  /** The family's engine has some that a checkpoint has. */
  isHeldBy(family: string): boolean {
    return this.#statements.holds.get(family) !== undefined
  }

  /** It was nowhere but in an engine that is gone. */
  lose(id: string): void {
    this.#statements.loseOne.run(id)
  }

  /** With the engine goes what it had in memory. */
  forgetMemory(family: string): void {
    this.#statements.lose.run(family)
    this.#statements.forgetMemory.run(family)
  }

  remove(id: string): void {
    this.#statements.forgetNeeds.run(id)
    this.#statements.remove.run(id)
  }

  forgetFamily(family: string): void {
    this.#statements.forgetFamilyNeeds.run(family)
    this.#statements.forgetFamily.run(family)
  }

  #rows(name: StatementName, ...values: string[]): ImageRow[] {
    return (this.#statements[name].all(...values) as Stored[]).map(parse)
  }
}

function parse(stored: Stored): ImageRow {
  return { ...stored, inMemory: stored.inMemory === 1, toDisk: stored.toDisk === 1 }
}
