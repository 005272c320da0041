/** One sandbox goes on in the state of another of its family: the fork that was the best becomes the main line. */
import {
  DeltaBoxError,
  type ErrorBody,
  type Promoted,
  type PromoteFork,
  type RolledBack,
} from '@deltabox/protocol'
import { freezeForPromotion, type Kept } from './checkpoint.js'
import { giveUpCheckpoint } from './checkpoints.js'
import { destroySandbox } from './destroy.js'
import { errorBody } from './error-body.js'
import { rollbackSandbox } from './rollback.js'
import type { SandboxRow } from './sandbox-table.js'
import { findSandbox, isShown, labelOf } from './sandboxes.js'
import type { State } from './state.js'
import { rounded } from './timings.js'

/** Each step in the turn of its own sandbox: two that held one and waited for the other would wait for ever. */
export async function promoteFork(state: State, reference: string, request: PromoteFork): Promise<Promoted> {
  const started = performance.now()
  const sandbox = findSandbox(state, reference)
  const fork = findSandbox(state, request.fork)
  refuseItself(sandbox, fork)
  refuseStranger(sandbox, fork)
  const leaving = request.drop ? [fork, ...siblingsOf(state, fork, sandbox)] : []
  const kept = await state.serial.run(fork.id, () => freezeForPromotion(state, findSandbox(state, fork.id)))
  const done = await goTo(state, sandbox, kept)
  const ms = rounded(performance.now() - started)
  const told = { sandbox: sandbox.id, checkpoint: kept.checkpoint, fork: fork.id }
  state.store.applied.copy(fork.id, sandbox.id)
  state.log.info({ ...told, ms }, 'fork promoted')
  state.events.emit({ type: 'sandbox.promoted', ...told })
  return { ...done, ms, fork: fork.id, ...(await drop(state, leaving)) }
}

function refuseItself(sandbox: SandboxRow, fork: SandboxRow): void {
  if (sandbox.id !== fork.id) return
  throw new DeltaBoxError(
    'invalid_request',
    `cannot promote ${labelOf(fork)}: fork and sandbox are the same`,
    { details: { sandbox: sandbox.id, fork: fork.id } },
  )
}

function refuseStranger(sandbox: SandboxRow, fork: SandboxRow): void {
  if (sandbox.family === fork.family) return
  throw new DeltaBoxError(
    'checkpoint_of_other_base',
    `cannot promote ${labelOf(fork)}: it and ${labelOf(sandbox)} do not descend from the same sandbox`,
    { details: { sandbox: sandbox.id, fork: fork.id } },
  )
}

/**
 * What was forked of the same sandbox at the same checkpoint, in whichever call. The checkpoint alone does not tell: forks
 * of a fork that has not changed come from it too.
 */
function siblingsOf(state: State, fork: SandboxRow, sandbox: SandboxRow): SandboxRow[] {
  if (fork.parent === null) return []
  return state.store.sandboxes
    .ofFamily(fork.family)
    .filter(({ parent, forkedFrom }) => parent === fork.parent && forkedFrom === fork.forkedFrom)
    .filter(({ id }) => id !== fork.id && id !== sandbox.id)
}

async function goTo(
  state: State,
  { id, family }: SandboxRow,
  { checkpoint, isOurs }: Kept,
): Promise<RolledBack> {
  try {
    return await rollbackSandbox(state, id, { checkpoint })
  } catch (error) {
    if (isOurs) {
      giveUpCheckpoint(state, checkpoint)
      await state.families.retire(family)
    }
    throw error
  }
}

async function drop(
  state: State,
  leaving: readonly SandboxRow[],
): Promise<Pick<Promoted, 'dropped' | 'notDropped'>> {
  const there = leaving.filter(({ id }) => isThere(state, id))
  const results = await Promise.all(there.map(({ id }) => remove(state, id)))
  const dropped = results.filter((result) => typeof result === 'string')
  const notDropped = results.filter((result) => typeof result !== 'string')
  return { dropped, ...(notDropped.length === 0 ? {} : { notDropped }) }
}

/** Somebody else may have removed it since the promotion began. */
function isThere(state: State, id: string): boolean {
  const row = state.store.sandboxes.get(id)
  return row !== undefined && isShown(row)
}

async function remove(state: State, sandbox: string): Promise<string | ErrorBody> {
  try {
    await destroySandbox(state, sandbox)
    return sandbox
  } catch (reason) {
    const { error } = errorBody(reason)
    return { error: { ...error, details: { ...error.details, sandbox } } }
  }
}
