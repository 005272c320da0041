/** Layers by what lies below them. A chain is a layer and all below it; what nothing stands on can go. */
import type Database from 'libsql'
import { prepareAll } from './statements.js'

/**
 * `head`: a sandbox writes to it, or is about to. `merging`: others are being put together in it. `frozen`: never
 * written again. `doomed`: nothing needs it, its directory is being removed.
 */
export type LayerState = 'head' | 'merging' | 'frozen' | 'doomed'

export interface LayerRow {
  readonly id: string
  readonly family: string
  /** The layer below; null on the base. */
  readonly parent: string | null
  readonly state: LayerState
  /** Whose head it is or was meant to be. */
  readonly sandbox: string | null
  /** Where its sandbox stands once this is its head, where that differs from where it stood. */
  readonly target: string | null
  /** Known once it is frozen and was measured. */
  readonly bytes: number | null
  readonly files: number | null
  readonly createdAt: number
}

export type NewLayer = Omit<LayerRow, 'bytes' | 'files' | 'createdAt'>

const COLUMNS = 'id, family, parent, state, sandbox, target, bytes, files, created_at AS createdAt'

/** Newest first, `n` counting from the layer that is asked for. */
const CHAIN = `WITH RECURSIVE chain (id, parent, n) AS (
    SELECT id, parent, 0 FROM layers WHERE id = ?
    UNION ALL
    SELECT below.id, below.parent, n + 1 FROM layers below JOIN chain ON below.id = chain.parent
  )`

const IS_NEEDED = `EXISTS (SELECT 1 FROM layers above WHERE above.parent = layers.id AND above.state != 'doomed')
  OR EXISTS (SELECT 1 FROM checkpoints WHERE checkpoints.layer = layers.id)
  OR EXISTS (SELECT 1 FROM holds WHERE holds.layer = layers.id)`

export class LayerTable {
  readonly #statements: Readonly<Record<StatementName, Database.Statement>>

  constructor(db: Database.Database) {
    this.#statements = prepareAll(db, SQL)
  }

  insert(row: NewLayer): void {
    const { id, family, parent, state, sandbox, target } = row
    this.#statements.insert.run(id, family, parent, state, sandbox, target, Date.now())
  }

  setState(id: string, state: LayerState): void {
    this.#statements.setState.run(state, id)
  }

  setSize(id: string, bytes: number, files: number): void {
    this.#statements.setSize.run(bytes, files, id)
  }

  /** Whatever stood on one layer stands on another from now on. */
  moveParents(from: string, to: string): void {
    this.#statements.moveParents.run(to, from, to)
  }

  moveTargets(from: string, to: string | null): void {
    this.#statements.moveTargets.run(to, from)
  }

  get(id: string): LayerRow | undefined {
    return this.#statements.get.get(id) as LayerRow | undefined
  }

  all(): LayerRow[] {
    return this.#statements.all.all() as LayerRow[]
  }

  ofFamily(family: string): LayerRow[] {
    return this.#statements.ofFamily.all(family) as LayerRow[]
  }

  inState(state: LayerState): LayerRow[] {
    return this.#statements.inState.all(state) as LayerRow[]
  }

  doomed(limit: number): LayerRow[] {
    return this.#statements.doomed.all(limit) as LayerRow[]
  }

  above(id: string): LayerRow[] {
    return this.#statements.above.all(id) as LayerRow[]
  }

  headsOf(sandbox: string): LayerRow[] {
    return this.#statements.headsOf.all(sandbox) as LayerRow[]
  }

  /** Never written again, and of this size where that is known already. */
  freeze(id: string, size: { readonly bytes: number; readonly files: number } | undefined): void {
    this.#statements.freeze.run(size?.bytes ?? null, size?.files ?? null, id)
  }

  /** What its directory says of it is right again. */
  setUpToDate(id: string): void {
    this.#statements.setUpToDate.run(id)
  }

  /** What their directories say of them was right once. */
  outdated(): LayerRow[] {
    return this.#statements.outdated.all() as LayerRow[]
  }

  /** Heads whose chain holds the layer. */
  headsAbove(id: string): string[] {
    return (this.#statements.headsAbove.all(id) as { id: string }[]).map((row) => row.id)
  }

  /** The layer and all below it, newest first; nothing for the base. */
  chain(top: string | null): LayerRow[] {
    return top === null ? [] : (this.#statements.chain.all(top) as LayerRow[])
  }

  /** Their ids alone, where nothing else is asked for: one text is had much faster than many rows. */
  chainIds(top: string | null): string[] {
    if (top === null) return []
    const { ids } = this.#statements.chainIds.get(top) as { ids: string | null }
    return ids === null ? [] : ids.split(' ')
  }

  depth(top: string | null): number {
    return top === null ? 0 : (this.#statements.depth.get(top) as { depth: number }).depth
  }

  /** A sandbox is on its way there. */
  isTarget(checkpoint: string): boolean {
    return this.#statements.isTarget.get(checkpoint) !== undefined
  }

  /** What is known of the size of a chain. */
  chainBytes(top: string | null): number {
    return top === null ? 0 : (this.#statements.chainBytes.get(top) as { bytes: number }).bytes
  }

  isNeeded(id: string): boolean {
    return this.#statements.isNeeded.get(id) !== undefined
  }

  /** Frozen layers that nothing stands on, of all families. */
  unneeded(): LayerRow[] {
    return this.#statements.unneeded.all() as LayerRow[]
  }

  remove(id: string): void {
    this.#statements.remove.run(id)
  }

  /** Keeps a layer for a mount that shows it though the chain of its head does not name it any more. */
  hold(holder: string, layer: string): void {
    this.#statements.hold.run(holder, layer)
  }

  heldBy(holder: string): string[] {
    return (this.#statements.heldBy.all(holder) as { layer: string }[]).map(({ layer }) => layer)
  }

  holders(): string[] {
    return (this.#statements.holders.all() as { holder: string }[]).map(({ holder }) => holder)
  }

  letGo(holder: string): void {
    this.#statements.letGo.run(holder)
  }

  forgetFamily(family: string): void {
    this.#statements.forgetHolds.run(family)
    this.#statements.forgetLayers.run(family)
  }
}

type StatementName = keyof typeof SQL
const SQL = {
  insert: `INSERT INTO layers (id, family, parent, state, sandbox, target, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)`,
  setState: 'UPDATE layers SET state = ? WHERE id = ?',
  setSize: 'UPDATE layers SET bytes = ?, files = ? WHERE id = ?',
  moveParents: 'UPDATE layers SET parent = ?, outdated = 1 WHERE parent = ? AND id != ?',
  moveTargets: 'UPDATE layers SET target = ? WHERE target = ?',
  isTarget: `SELECT 1 FROM layers WHERE target = ? AND state = 'head'
    AND NOT EXISTS (SELECT 1 FROM sandboxes WHERE sandboxes.id = layers.sandbox AND sandboxes.head = layers.id) LIMIT 1`,
  get: `SELECT ${COLUMNS} FROM layers WHERE id = ?`,
  all: `SELECT ${COLUMNS} FROM layers ORDER BY rowid`,
  ofFamily: `SELECT ${COLUMNS} FROM layers WHERE family = ?`,
  inState: `SELECT ${COLUMNS} FROM layers WHERE state = ?`,
  doomed: `SELECT ${COLUMNS} FROM layers WHERE state = 'doomed' LIMIT ?`,
  above: `SELECT ${COLUMNS} FROM layers WHERE parent = ? AND state != 'doomed'`,
  headsOf: `SELECT ${COLUMNS} FROM layers WHERE sandbox = ? AND state = 'head'`,
  freeze: `UPDATE layers SET state = 'frozen', bytes = ?, files = ? WHERE id = ?`,
  setUpToDate: 'UPDATE layers SET outdated = 0 WHERE id = ?',
  outdated: `SELECT ${COLUMNS} FROM layers WHERE state = 'frozen' AND outdated = 1`,
  headsAbove: `WITH RECURSIVE above (id, state) AS (
      SELECT id, state FROM layers WHERE parent = ?
      UNION ALL
      SELECT next.id, next.state FROM layers next JOIN above ON next.parent = above.id
    ) SELECT id FROM above WHERE state = 'head'`,
  chain: `${CHAIN} SELECT ${COLUMNS.replace(/\b(id|parent)\b/g, 'layers.$1')} FROM chain JOIN layers USING (id) ORDER BY n`,
  chainIds: `${CHAIN} SELECT group_concat(id, ' ' ORDER BY n) AS ids FROM chain`,
  depth: `${CHAIN} SELECT count(*) AS depth FROM chain`,
  chainBytes: `${CHAIN} SELECT coalesce(sum(bytes), 0) AS bytes FROM chain JOIN layers USING (id)`,
  isNeeded: `SELECT 1 FROM layers WHERE id = ? AND (${IS_NEEDED})`,
  unneeded: `SELECT ${COLUMNS} FROM layers WHERE state = 'frozen' AND NOT (${IS_NEEDED})`,
  remove: 'DELETE FROM layers WHERE id = ?',
  hold: 'INSERT OR IGNORE INTO holds (holder, layer) VALUES (?, ?)',
  heldBy: 'SELECT layer FROM holds WHERE holder = ?',
  holders: 'SELECT DISTINCT holder FROM holds',
  letGo: 'DELETE FROM holds WHERE holder = ?',
  forgetHolds: 'DELETE FROM holds WHERE layer IN (SELECT id FROM layers WHERE family = ?)',
  forgetLayers: 'DELETE FROM layers WHERE family = ?',
} as const
