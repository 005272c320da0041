import type { RetentionRules } from '@deltabox/protocol'
import type Database from 'libsql'
import type { FamilySetup } from './family-table.js'

/** `creating` and `removing` are never shown: after a crash they say what has to be undone or finished. */
export type SandboxRowState = 'creating' | 'running' | 'dead' | 'removing'

interface OwnColumns {
  readonly id: string
  readonly name: string | null
  readonly family: string
  readonly state: SandboxRowState
  readonly reason: string | null
  /** The layer it writes to. */
  readonly head: string
  /** The checkpoint it stands on: last taken, rolled back to or forked from. */
  readonly checkpoint: string | null
  /** The sandbox it is a fork of, or of a checkpoint of; null for the first of its family. */
  readonly parent: string | null
  /** The checkpoint it was forked from, which may be gone; null where that was the base. */
  readonly forkedFrom: string | null
  /** Directories on the host, to be removed by hand when the engine cannot. */
  readonly cgroups: readonly string[]
  /** Which of the checkpoints taken of it stay; null: all. */
  readonly retention: RetentionRules | null
  /** Milliseconds since the epoch. */
  readonly createdAt: number
}

/** With what it shares with its family. */
export type SandboxRow = FamilySetup & OwnColumns

type NewSandboxRow = Pick<
  OwnColumns,
  'id' | 'name' | 'family' | 'head' | 'checkpoint' | 'parent' | 'forkedFrom' | 'createdAt'
>

type Stored = Omit<OwnColumns, 'cgroups' | 'retention'> & {
  cgroups: string
  retention: string | null
  setup: string
}

const SELECT = `SELECT s.id, name, family, state, reason, head, checkpoint, parent, forked_from AS forkedFrom,
  cgroups, retention, created_at AS createdAt, setup FROM sandboxes s JOIN families f ON f.id = s.family`

export class SandboxTable {
  readonly #insert: Database.Statement
  readonly #setRunning: Database.Statement
  readonly #setState: Database.Statement
  readonly #setName: Database.Statement
  readonly #setRetention: Database.Statement
  readonly #setHead: Database.Statement
  readonly #movePositions: Database.Statement
  readonly #get: Database.Statement
  readonly #byName: Database.Statement
  readonly #byPrefix: Database.Statement
  readonly #all: Database.Statement
  readonly #ofFamily: Database.Statement
  readonly #hasFamily: Database.Statement
  readonly #onCheckpoint: Database.Statement
  readonly #isStoodOn: Database.Statement
  readonly #withRetention: Database.Statement
  readonly #remove: Database.Statement
  /** As they are in the store: each call asks for its sandbox, most of them more than once. */
  readonly #known = new Map<string, SandboxRow>()

  constructor(db: Database.Database) {
    this.#insert = db.prepare(
      `INSERT INTO sandboxes (id, name, family, state, head, checkpoint, parent, forked_from, cgroups, created_at)
       VALUES (?, ?, ?, 'creating', ?, ?, ?, ?, '[]', ?)`,
    )
    this.#setRunning = db.prepare(`UPDATE sandboxes SET state = 'running', cgroups = ? WHERE id = ?`)
    this.#setState = db.prepare('UPDATE sandboxes SET state = ?, reason = ? WHERE id = ?')
    this.#setName = db.prepare('UPDATE sandboxes SET name = ? WHERE id = ?')
    this.#setRetention = db.prepare('UPDATE sandboxes SET retention = ? WHERE id = ?')
    this.#setHead = db.prepare('UPDATE sandboxes SET head = ?, checkpoint = ? WHERE id = ?')
    this.#movePositions = db.prepare('UPDATE sandboxes SET checkpoint = ? WHERE checkpoint = ?')
    this.#get = db.prepare(`${SELECT} WHERE s.id = ?`)
    this.#byName = db.prepare(`${SELECT} WHERE name = ?`)
    this.#byPrefix = db.prepare(`${SELECT} WHERE substr(s.id, 1, length(?)) = ?`)
    this.#all = db.prepare(`${SELECT} ORDER BY created_at, s.rowid`)
    this.#ofFamily = db.prepare(`${SELECT} WHERE family = ? ORDER BY created_at, s.rowid`)
    this.#hasFamily = db.prepare('SELECT 1 FROM sandboxes WHERE family = ? LIMIT 1')
    this.#onCheckpoint = db.prepare(`${SELECT} WHERE checkpoint = ?`)
    this.#isStoodOn = db.prepare('SELECT 1 FROM sandboxes WHERE checkpoint = ? LIMIT 1')
    this.#withRetention = db.prepare('SELECT id FROM sandboxes WHERE retention IS NOT NULL')
    this.#remove = db.prepare('DELETE FROM sandboxes WHERE id = ?')
  }

  /** As one that is being created. */
  insert(row: NewSandboxRow): void {
    const { id, name, family, head, checkpoint, parent, forkedFrom, createdAt } = row
    this.#insert.run(id, name, family, head, checkpoint, parent, forkedFrom, createdAt)
  }

  setRunning(id: string, cgroups: readonly string[]): void {
    this.#setRunning.run(JSON.stringify(cgroups), id)
    this.#known.delete(id)
  }

  setState(id: string, state: SandboxRowState, reason: string | null): void {
    this.#setState.run(state, reason, id)
    this.#known.delete(id)
  }

  setName(id: string, name: string): void {
    this.#setName.run(name, id)
    this.#known.delete(id)
  }

  setRetention(id: string, rules: RetentionRules | null): void {
    this.#setRetention.run(rules && JSON.stringify(rules), id)
    this.#known.delete(id)
  }

  setHead(id: string, head: string, checkpoint: string | null): void {
    this.#setHead.run(head, checkpoint, id)
    const known = this.#known.get(id)
    if (known) this.#known.set(id, { ...known, head, checkpoint })
  }

  /** Those that stand on one checkpoint, or were forked from it, are from now on as if it were another. */
  movePositions(from: string, to: string | null): void {
    this.#movePositions.run(to, from)
    this.forgetKnown()
  }

  get(id: string): SandboxRow | undefined {
    const known = this.#known.get(id) ?? rowOf(this.#get.get(id) as Stored | undefined)
    if (known) this.#known.set(id, known)
    return known
  }

  /** What was read or changed in a transaction that was undone is not so. */
  forgetKnown(): void {
    this.#known.clear()
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

  ofFamily(family: string): SandboxRow[] {
    return (this.#ofFamily.all(family) as Stored[]).map(parse)
  }

  hasFamily(family: string): boolean {
    return this.#hasFamily.get(family) !== undefined
  }

  onCheckpoint(checkpoint: string): SandboxRow[] {
    return (this.#onCheckpoint.all(checkpoint) as Stored[]).map(parse)
  }

  /** Whoever does is not asked for. */
  isStoodOn(checkpoint: string): boolean {
    return this.#isStoodOn.get(checkpoint) !== undefined
  }

  withRetention(): string[] {
    return (this.#withRetention.all() as { id: string }[]).map(({ id }) => id)
  }

  remove(id: string): void {
    this.#remove.run(id)
    this.#known.delete(id)
  }
}

function rowOf(stored: Stored | undefined): SandboxRow | undefined {
  return stored && parse(stored)
}

function parse({ setup, cgroups, retention, ...own }: Stored): SandboxRow {
  return {
    ...(JSON.parse(setup) as FamilySetup),
    ...own,
    cgroups: JSON.parse(cgroups),
    retention: retention === null ? null : JSON.parse(retention),
  }
}
