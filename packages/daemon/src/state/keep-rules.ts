/** Which checkpoints stay. */
import { DeltaBoxError, type RetentionRules } from '@deltabox/protocol'
import type { CheckpointRow } from './checkpoint-table.js'
import { findCheckpoint } from './checkpoints.js'
import type { State } from './state.js'

/** With whole ids. `doing` completes "cannot …": one that is mistyped must not cost the checkpoint that was meant. */
export function checkedRules(state: State, rules: RetentionRules, doing: string): RetentionRules {
  const { keepLast, keepNewerThanMs, keep } = rules
  if (keepLast === undefined && keepNewerThanMs === undefined && keep === undefined) {
    throw new DeltaBoxError(
      'invalid_request',
      `cannot ${doing}: no rule tells what to keep; it takes keepLast, keepNewerThanMs or keep`,
    )
  }
  return { ...rules, ...(keep && { keep: keep.map((reference) => findCheckpoint(state, reference).id) }) }
}

/**
 * Tells of a checkpoint whether a rule keeps it. `rows` are those that the rules are applied to, oldest first. One that nobody
 * wants for itself is kept by its id alone.
 */
export function keptBy(
  { keepLast = 0, keepLabelled = true, keepNewerThanMs, keep = [] }: RetentionRules,
  rows: readonly CheckpointRow[],
): (row: CheckpointRow) => boolean {
  const wanted = rows.filter((row) => !row.internal)
  const latest = wanted.slice(Math.max(0, wanted.length - keepLast)).map(({ id }) => id)
  const named = new Set([...keep, ...latest])
  const since = keepNewerThanMs === undefined ? Number.POSITIVE_INFINITY : Date.now() - keepNewerThanMs
  const isKept = ({ label, createdAt }: CheckpointRow): boolean =>
    (keepLabelled && label !== null) || createdAt > since
  return (row) => named.has(row.id) || (!row.internal && isKept(row))
}
