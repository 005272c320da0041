/** Rows that speak of others that are not there. */
import type Database from 'libsql'

const FAMILIES = `SELECT family FROM sandboxes UNION SELECT family FROM layers
  UNION SELECT family FROM checkpoints UNION SELECT family FROM images`

export interface Hold {
  readonly holder: string
  readonly layer: string
}

export interface Need {
  readonly image: string
  readonly needs: string
}

export class LooseEndTable {
  readonly #db: Database.Database

  constructor(db: Database.Database) {
    this.#db = db
  }

  /** Of layers that are not known. */
  holds(): Hold[] {
    return this.#all('SELECT holder, layer FROM holds WHERE layer NOT IN (SELECT id FROM layers)') as Hold[]
  }

  removeHold({ holder, layer }: Hold): void {
    this.#db.prepare('DELETE FROM holds WHERE holder = ? AND layer = ?').run(holder, layer)
  }

  /** Of images that are not known, or by such. */
  needs(): Need[] {
    return this.#all(
      `SELECT image, needs FROM image_needs
       WHERE image NOT IN (SELECT id FROM images) OR needs NOT IN (SELECT id FROM images)`,
    ) as Need[]
  }

  removeNeed({ image, needs }: Need): void {
    this.#db.prepare('DELETE FROM image_needs WHERE image = ? AND needs = ?').run(image, needs)
  }

  /** Families that have rows, but none of their own. */
  goneFamilies(): string[] {
    const rows = this.#all(`SELECT family FROM (${FAMILIES}) WHERE family NOT IN (SELECT id FROM families)`)
    return (rows as { family: string }[]).map(({ family }) => family)
  }

  /** With those of its checkpoints and sandboxes. */
  removeFamily(family: string): void {
    for (const statement of [
      'DELETE FROM processes WHERE sandbox IN (SELECT id FROM sandboxes WHERE family = ?)',
      'DELETE FROM processes WHERE sandbox IN (SELECT id FROM checkpoints WHERE family = ?)',
      'DELETE FROM applied WHERE sandbox IN (SELECT id FROM sandboxes WHERE family = ?)',
      'DELETE FROM checkpoints WHERE family = ?',
      'DELETE FROM sandboxes WHERE family = ?',
    ]) {
      this.#db.prepare(statement).run(family)
    }
  }

  /** Sandboxes that write to a layer that is not known. */
  headless(): { sandbox: string; family: string; head: string }[] {
    return this.#all(
      'SELECT id AS sandbox, family, head FROM sandboxes WHERE head NOT IN (SELECT id FROM layers)',
    ) as { sandbox: string; family: string; head: string }[]
  }

  #all(sql: string): unknown[] {
    return this.#db.prepare(sql).all()
  }
}
