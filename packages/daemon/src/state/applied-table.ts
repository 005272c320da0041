/** What `apply` wrote to a workspace: as long as the host's copy keeps that ctime, the last change to it is ours. */
import type Database from 'libsql'

export class AppliedTable {
  readonly #set: Database.Statement
  readonly #all: Database.Statement
  readonly #copy: Database.Statement
  readonly #remove: Database.Statement
  readonly #forget: Database.Statement

  constructor(db: Database.Database) {
    this.#set = db.prepare('INSERT OR REPLACE INTO applied (sandbox, path, ctime_ns) VALUES (?, ?, ?)')
    this.#all = db.prepare('SELECT path, ctime_ns FROM applied WHERE sandbox = ?')
    this.#copy = db.prepare(
      `INSERT INTO applied (sandbox, path, ctime_ns) SELECT ?, path, ctime_ns FROM applied WHERE sandbox = ?
       ON CONFLICT DO UPDATE SET ctime_ns = max(CAST(ctime_ns AS INTEGER), CAST(excluded.ctime_ns AS INTEGER))`,
    )
    this.#remove = db.prepare('DELETE FROM applied WHERE sandbox = ? AND path = ?')
    this.#forget = db.prepare('DELETE FROM applied WHERE sandbox = ?')
  }

  /** A path is bytes; each is stored as the character of its number. */
  set(sandbox: string, path: Buffer, ctimeNs: bigint): void {
    this.#set.run(sandbox, path.toString('latin1'), String(ctimeNs))
  }

  /** What one sandbox applied counts as another's, which has its state; of what both did, the later. */
  copy(from: string, to: string): void {
    this.#copy.run(to, from)
  }

  remove(sandbox: string, path: Buffer): void {
    this.#remove.run(sandbox, path.toString('latin1'))
  }

  /** By path in latin1. */
  all(sandbox: string): Map<string, bigint> {
    const rows = this.#all.all(sandbox) as { path: string; ctime_ns: string }[]
    return new Map(rows.map((row) => [row.path, BigInt(row.ctime_ns)]))
  }

  forget(sandbox: string): void {
    this.#forget.run(sandbox)
  }
}
