/** New sandboxes in the state of another, or of a checkpoint. All of them or, unless parts will do, none. */
import { mkdir } from 'node:fs/promises'
import { DeltaBoxError, type Fork, type Forked } from '@deltabox/protocol'
import { openBase } from './base.js'
import { bringBack } from './bring-back.js'
import { freezeForFork, type Origin } from './checkpoint.js'
import { findCheckpoint, leaveCheckpoint } from './checkpoints.js'
import { parametersOf } from './create.js'
import { unmake } from './destroy.js'
import { explain } from './engine-errors.js'
import { errorBody, toDeltaBoxError } from './error-body.js'
import type { Family } from './families.js'
import { newSandboxId } from './ids.js'
import type { NewLayer } from './layer-table.js'
import { findSandbox, getSandbox, labelOf, requireFreeName } from './sandboxes.js'
import type { State } from './state.js'
import { milliseconds, rounded } from './timings.js'

/** As it is now: the state is taken in its turn, the new ones are made while it goes on. */
export async function forkSandbox(state: State, reference: string, request: Fork): Promise<Forked> {
  const started = performance.now()
  const found = findSandbox(state, reference)
  const children = await state.serial.run(found.id, async () => {
    const sandbox = findSandbox(state, found.id)
    return insertChildren(state, await freezeForFork(state, sandbox), request, sandbox.id)
  })
  return await makeAll(state, children, request, labelOf(found), started)
}

export async function forkCheckpoint(state: State, reference: string, request: Fork): Promise<Forked> {
  const started = performance.now()
  const { id, family, layer, sandbox, processes, image } = findCheckpoint(state, reference)
  const children = insertChildren(
    state,
    { family, layer, checkpoint: id, processes, image },
    request,
    sandbox,
  )
  return await makeAll(state, children, request, id, started)
}

interface Child {
  readonly id: string
  readonly head: NewLayer
}

interface Children {
  readonly origin: Origin
  readonly all: readonly Child[]
}

/** From here on nothing they stand on goes away. What `parent` brought to the workspace counts as theirs. */
function insertChildren(state: State, origin: Origin, { count = 1, name }: Fork, parent: string): Children {
  const { family, layer, checkpoint } = origin
  const all = state.store.transaction(() =>
    Array.from({ length: count }, (_, index): Child => {
      const id = newSandboxId()
      const own = name === undefined ? null : `${name}-${index + 1}`
      if (own !== null) requireFreeName(state, own)
      const head = state.layers.newHead({ family, sandbox: id, parent: layer, target: null })
      state.store.sandboxes.insert({
        ...{ id, name: own, family, head: head.id, checkpoint },
        ...{ parent, forkedFrom: checkpoint, createdAt: Date.now() },
      })
      state.store.applied.copy(parent, id)
      return { id, head }
    }),
  )
  return { origin, all }
}

async function makeAll(
  state: State,
  children: Children,
  { partial = false }: Fork,
  of: string,
  started: number,
): Promise<Forked> {
  const { origin, all } = children
  const settled = new Map<string, Settled>()
  const lost = await makeEach(state, children, of, settled).catch((reason) => {
    for (const { id } of all) if (!isMade(settled.get(id))) settled.set(id, { status: 'rejected', reason })
    return 0
  })
  const made = all.flatMap(({ id }) => settled.get(id) ?? [])
  const failed = made.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []))
  if (failed.length > 0) await undo(state, origin, all, made, partial)
  if (failed.length > 0 && !partial) throw failure(of, failed, all.length)
  return report(state, origin, made, lost, started)
}

interface Made {
  readonly id: string
  readonly cgroups: readonly string[]
  readonly timings: Readonly<Record<string, number>>
}

type Settled = PromiseSettledResult<Made>

function isMade(result: Settled | undefined): boolean {
  return result?.status === 'fulfilled'
}

/** Fills `settled`, by child. Gives how many processes each of them is without. */
async function makeEach(
  state: State,
  children: Children,
  of: string,
  settled: Map<string, Settled>,
): Promise<number> {
  const { origin, all } = children
  return await state.families.use(origin.family, async (family) => {
    await openBase(state, family)
    return await state.images.use(origin, `fork ${of}`, async (image, source) => {
      const killed = await makeLeft(state, family, children, image, settled)
      if (killed && source === 'template') throw killed.reason
      const setup = state.store.families.get(family.id)?.setup
      if (setup) state.spares.used(family, setup, image === null ? null : { image }, all.length)
      return image === null ? origin.processes : 0
    })
  })
}

/** Those that were not tried yet, or whose processes were killed where they were kept: gives one that fails because of that. */
async function makeLeft(
  state: State,
  family: Family,
  { origin, all }: Children,
  image: string | null,
  settled: Map<string, Settled>,
): Promise<PromiseRejectedResult | undefined> {
  const wasKilled = (result: Settled | undefined): result is PromiseRejectedResult =>
    result?.status === 'rejected' && state.images.wasKilled(origin.image, result.reason)
  const make = async (child: Child): Promise<Made> => {
    // An engine that could not make it has left its directories empty.
    if (!settled.has(child.id)) await makeRoom(state, family, child)
    return await makeOne(state, family, child, origin, image)
  }
  const left = all.filter(({ id }) => !settled.has(id) || wasKilled(settled.get(id)))
  const results = await Promise.allSettled(left.map(make))
  for (const [index, { id }] of left.entries()) settled.set(id, results[index] as Settled)
  return results.find(wasKilled)
}

async function makeRoom(state: State, family: Family, { id }: Child): Promise<void> {
  await mkdir(state.families.sandboxDirectory(family.id, id), { mode: 0o700 })
}

async function makeOne(
  state: State,
  family: Family,
  { id, head }: Child,
  { checkpoint }: Origin,
  image: string | null,
): Promise<Made> {
  const row = state.store.sandboxes.get(id)
  if (!row) throw new Error(`sandbox ${id} is gone while it is made`)
  try {
    const parameters = {
      ...parametersOf(state, { id, setup: row }, head),
      ...(image === null ? {} : { image }),
    }
    const { cgroups, processes, timings } = await family.client.request('sandbox.create', parameters)
    if (checkpoint !== null) bringBack(state, id, checkpoint, processes)
    return { id, cgroups, timings }
  } catch (error) {
    throw explain(error, 'sandbox.create', `make sandbox ${id}`)
  }
}

/** What was made goes again, and what was only begun. */
async function undo(
  state: State,
  { family, checkpoint }: Origin,
  all: readonly Child[],
  made: readonly Settled[],
  keepMade: boolean,
): Promise<void> {
  for (const [index, { id }] of all.entries()) {
    if (keepMade && isMade(made[index])) continue
    const row = state.store.sandboxes.get(id)
    if (row) await unmake(state, row)
  }
  leaveCheckpoint(state, checkpoint)
  await state.families.retire(family)
}

function failure(of: string, failed: readonly unknown[], count: number): DeltaBoxError {
  const cause = toDeltaBoxError(failed[0])
  const which = count === 1 ? '' : `${failed.length} of ${count} could not be made: `
  return new DeltaBoxError('fork_failed', `cannot fork ${of}: ${which}${cause.message}`, {
    cause,
    details: { ...cause.details, code: cause.code, failed: failed.length, count },
  })
}

function report(
  state: State,
  origin: Origin,
  made: readonly Settled[],
  lost: number,
  started: number,
): Forked {
  const { checkpoint } = origin
  state.store.transaction(() => {
    for (const result of made) {
      if (result.status === 'fulfilled')
        state.store.sandboxes.setRunning(result.value.id, result.value.cgroups)
    }
  })
  const sandboxes = made.map((result) =>
    result.status === 'fulfilled' ? getSandbox(state, result.value.id) : errorBody(result.reason),
  )
  const ms = performance.now() - started
  state.metrics.forkSeconds.observe(ms / 1000)
  state.log.info({ checkpoint, count: made.length, ms }, 'forked')
  for (const result of made) {
    if (result.status !== 'fulfilled') continue
    const sandbox = result.value.id
    state.events.emit({ type: 'sandbox.created', sandbox })
    state.events.emit({ type: 'sandbox.forked', sandbox, ...(checkpoint === null ? {} : { checkpoint }) })
  }
  return { sandboxes, lost, ms: rounded(ms), timings: milliseconds(sum(made)) }
}

function sum(made: readonly Settled[]): Record<string, number> {
  const all: Record<string, number> = {}
  for (const result of made) {
    if (result.status !== 'fulfilled') continue
    for (const [step, usec] of Object.entries(result.value.timings)) all[step] = (all[step] ?? 0) + usec
  }
  return all
}
