/** Checkpoints that no rule keeps go, a few at a time: what others ask for comes in between. */
import { setImmediate as others } from 'node:timers/promises'
import type { PruneCheckpoints, Pruned, RetentionRules } from '@deltabox/protocol'
import type { CheckpointRow } from './checkpoint-table.js'
import { forgetCheckpoint, isUnneeded } from './checkpoints.js'
import { Freed } from './freed.js'
import { checkedRules, keptBy } from './keep-rules.js'
import { findSandbox, isShown, labelOf } from './sandboxes.js'
import type { State } from './state.js'

/** Removed in one transaction. */
const BATCH = 50

/** Those that rules are applied to. */
interface Scope {
  readonly sandbox: string
  readonly family: string
  readonly isFamily: boolean
}

export async function pruneCheckpoints(
  state: State,
  reference: string,
  { family: isFamily = false, dryRun = false, ...given }: PruneCheckpoints,
): Promise<Pruned> {
  const sandbox = findSandbox(state, reference)
  const rules = checkedRules(state, given, `prune checkpoints of sandbox ${labelOf(sandbox)}`)
  const scope = { sandbox: sandbox.id, family: sandbox.family, isFamily }
  // Heads that were given up stand on checkpoints until they are dropped.
  state.afterwards.finish()
  return dryRun ? rehearse(state, scope, rules) : await prune(state, scope, rules)
}

/** The rules that were set for it, if it is there. */
export async function applyRetention(state: State, id: string): Promise<void> {
  const sandbox = state.store.sandboxes.get(id)
  if (!sandbox?.retention || !isShown(sandbox)) return
  state.afterwards.finish()
  await prune(state, { sandbox: id, family: sandbox.family, isFamily: false }, sandbox.retention)
}

function rowsIn({ store }: State, { sandbox, family, isFamily }: Scope): CheckpointRow[] {
  return isFamily ? store.checkpoints.ofFamily(family) : store.checkpoints.ofSandbox(sandbox)
}

/** Some of those that are to go. */
interface Step {
  readonly going: readonly string[]
  readonly isKept: (row: CheckpointRow) => boolean
  readonly freed: Freed
}

function plan(state: State, scope: Scope, rules: RetentionRules): Step {
  const rows = rowsIn(state, scope)
  const isKept = keptBy(rules, rows)
  // The youngest first: layers and images stand on older ones.
  const going = rows.flatMap((row) => (isKept(row) ? [] : [row.id])).reverse()
  return { going, isKept, freed: new Freed(state.store.images) }
}

function rehearse(state: State, scope: Scope, rules: RetentionRules): Pruned {
  return state.store.rehearse(() => {
    const step = plan(state, scope, rules)
    return report(state, scope, removeSome(state, step), step.freed)
  })
}

async function prune(state: State, scope: Scope, rules: RetentionRules): Promise<Pruned> {
  const { going, ...how } = plan(state, scope, rules)
  const removed: CheckpointRow[] = []
  try {
    for (let at = 0; at < going.length; at += BATCH) {
      if (at > 0) await others()
      if (state.stopping.signal.aborted) break
      const step = { ...how, going: going.slice(at, at + BATCH) }
      const gone = state.store.transaction(() => removeSome(state, step))
      for (const { sandbox, id: checkpoint } of gone)
        state.events.emit({ type: 'checkpoint.removed', sandbox, checkpoint })
      removed.push(...gone)
    }
  } finally {
    if (removed.length > 0) cleanUp(state)
  }
  const pruned = report(state, scope, removed, how.freed)
  if (removed.length === 0) return pruned
  const told = { sandbox: scope.sandbox, removed: removed.length, kept: pruned.kept }
  state.log.info({ ...told, freedBytes: pruned.freedBytes }, 'checkpoints pruned')
  await state.families.retire(scope.family)
  return pruned
}

function cleanUp({ layers, images }: State): void {
  layers.removeDoomed()
  images.removeUnneeded()
}

/** Those that are still to go by now, with those that only they needed. */
function removeSome(state: State, { going, isKept, freed }: Step): CheckpointRow[] {
  const { checkpoints } = state.store
  const removed: CheckpointRow[] = []
  for (const id of going) {
    let row = checkpoints.get(id)
    while (row && !isKept(row) && !isInUse(state, row)) {
      freed.layers(forgetCheckpoint(state, row))
      freed.image(row.image)
      removed.push(row)
      const parent = row.parent === null ? undefined : checkpoints.get(row.parent)
      row = parent?.internal && isUnneeded(state, parent) ? parent : undefined
    }
  }
  return removed
}

/** A sandbox stands on it, or is being brought there. */
function isInUse({ store, pool }: State, { id, image }: CheckpointRow): boolean {
  return store.sandboxes.isStoodOn(id) || store.layers.isTarget(id) || (image !== null && pool.isHeld(image))
}

function report(state: State, scope: Scope, removed: readonly CheckpointRow[], freed: Freed): Pruned {
  const oldestFirst = [...removed].reverse().sort((a, b) => a.createdAt - b.createdAt)
  return {
    removed: oldestFirst.map(({ id }) => id),
    kept: rowsIn(state, scope).filter((row) => !row.internal).length,
    freedBytes: freed.bytes,
  }
}
