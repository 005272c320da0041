/** Taking a checkpoint: the layer a sandbox writes to is frozen below a new one, under its running processes. */
import { setTimeout as delay } from 'node:timers/promises'
import { type CheckpointInfo, type CreateCheckpoint, DeltaBoxError } from '@deltabox/protocol'
import { EngineError } from '../engine/client.js'
import type { CheckpointTaken } from '../engine/messages.js'
import { keepCommands } from './bring-back.js'
import type { CheckpointRow } from './checkpoint-table.js'
import { infoOf } from './checkpoints.js'
import { freezeHead } from './heads.js'
import { newCheckpointId } from './ids.js'
import type { NewLayer } from './layer-table.js'
import type { SandboxRow } from './sandbox-table.js'
import { ask, findSandbox, labelOf } from './sandboxes.js'
import type { State } from './state.js'
import { milliseconds } from './timings.js'

/** What only a passing moment forbids is asked for again after so long. */
const SETTLE_DELAYS_MS = [2, 5, 10, 20, 50, 100, 150, 200, 200, 250]
const ROOM_WAIT_MS = 30_000
const BASE: Pick<CheckpointRow, 'layer' | 'image'> = { layer: null, image: null }

export function checkpointSandbox(
  state: State,
  reference: string,
  request: CreateCheckpoint,
): Promise<CheckpointInfo> {
  const { id } = findSandbox(state, reference)
  return state.serial.run(id, async () => {
    const started = performance.now()
    const sandbox = findSandbox(state, id)
    const taken = await freeze(state, sandbox)
    const { label = null, disk = true } = request
    const row = register(state, sandbox, taken, { label, internal: false }, disk)
    const ms = performance.now() - started
    state.afterwards.add(() => {
      state.metrics.blockingSeconds.observe(row.blockingUsec / 1e6)
      state.metrics.checkpointSeconds.observe(ms / 1000)
    })
    return { ...infoOf(state, row), timings: milliseconds(taken.timings ?? {}) }
  })
}

/** A state that sandboxes can be made in. */
export interface Origin {
  readonly family: string
  /** The top of its chain. */
  readonly layer: string | null
  readonly checkpoint: string | null
  /** How many processes it has. */
  readonly processes: number
  /** That has them. */
  readonly image: string | null
}

/** For a fork: the caller has its turn with the sandbox. Where nothing changed, the checkpoint it stands on will do. */
export async function freezeForFork(state: State, sandbox: SandboxRow): Promise<Origin> {
  const { family, checkpoint } = sandbox
  const taken = await freeze(state, sandbox)
  if (taken.isSameAsPosition) {
    const { layer, processes = 0, image = null } = taken
    return { family, checkpoint, layer, processes, image }
  }
  const row = register(state, sandbox, taken, { label: null, internal: true }, true)
  const { id, layer, processes, image } = row
  return { family, checkpoint: id, layer, processes, image }
}

/** A checkpoint that stays, whoever leaves it. */
export interface Kept {
  readonly checkpoint: string
  /** It was not wanted for itself before. */
  readonly isOurs: boolean
}

/** For a promotion: the caller has its turn with the sandbox. Where nothing changed, the checkpoint it stands on will do. */
export async function freezeForPromotion(state: State, sandbox: SandboxRow): Promise<Kept> {
  const taken = await freeze(state, sandbox)
  const { checkpoints } = state.store
  const position = sandbox.checkpoint === null ? undefined : checkpoints.get(sandbox.checkpoint)
  if (!taken.isSameAsPosition || !position) {
    const { id } = register(state, sandbox, taken, { label: null, internal: false }, true)
    return { checkpoint: id, isOurs: true }
  }
  checkpoints.setWanted(position.id, true)
  return { checkpoint: position.id, isOurs: position.internal }
}

interface Frozen extends CheckpointTaken {
  /** The checkpoint's, and its image's. */
  readonly id: string
  /** The new head; undefined where nothing was frozen. */
  readonly head: NewLayer | undefined
  /** The top of the chain that is the checkpoint. */
  readonly layer: string | null
  readonly isSameAsPosition: boolean
  /** No file was written since where it stands. */
  readonly isOfSameFiles: boolean
  readonly isOnNewChain: boolean
}

/** Nothing may have changed since a state whose checkpoint was removed meanwhile: with that its processes go. */
async function freeze(state: State, sandbox: SandboxRow): Promise<Frozen> {
  for (;;) {
    const taken = await freezeOnce(state, sandbox)
    const { image } = taken
    if (image === undefined || state.store.images.isWanted(image)) return taken
    await state.pool.drop({ id: image, family: sandbox.family })
  }
}

async function freezeOnce(state: State, sandbox: SandboxRow): Promise<Frozen> {
  await state.merges.makeRoom(sandbox)
  await makeRoomInMemory(state, sandbox)
  const { id, family, head: old } = sandbox
  const image = newCheckpointId()
  const head = state.layers.newHead({ family, sandbox: id, parent: old, target: null })
  // Below the old head some layers have been put together since it was mounted.
  const isOnNewChain = state.store.layers.heldBy(old).length > 0
  let taken: CheckpointTaken
  try {
    const top = parentOf(state, old)
    const chain = isOnNewChain ? { layers: state.layers.chainDirectories({ family, top }) } : {}
    const parameters = { sandbox: id, head: state.layers.directory(head), image, ...chain }
    const doing = `take a checkpoint of sandbox ${labelOf(sandbox)}`
    taken = await untilSettled(state, (isFirst) => {
      // What is tried again and again does not copy all the memory each time.
      const much = isFirst ? state.config.copyAhead : Number.MAX_SAFE_INTEGER
      return ask(state, sandbox, doing, 'sandbox.checkpoint', { ...parameters, much })
    })
  } catch (error) {
    // Whether an engine that is gone has switched nobody knows: what is not its head is removed with the sandbox.
    if ((error as { code?: string }).code !== 'engine_lost') state.layers.abandon(head)
    state.images.forgetEarly(image)
    throw error
  }
  if (!taken.unchanged)
    return {
      ...{ ...taken, id: image, head, layer: old, isOnNewChain },
      ...{ isSameAsPosition: false, isOfSameFiles: false },
    }
  state.layers.abandon(head)
  const layer = parentOf(state, old)
  const position = sandbox.checkpoint === null ? BASE : state.store.checkpoints.get(sandbox.checkpoint)
  const isOfSameFiles = position?.layer === layer
  const isSameAsPosition = isOfSameFiles && position?.image === (taken.image ?? null)
  return { ...taken, id: image, head: undefined, layer, isSameAsPosition, isOfSameFiles, isOnNewChain }
}

function parentOf(state: State, layer: string): string | null {
  return state.store.layers.get(layer)?.parent ?? null
}

/** What is not on disk yet cannot go: whoever takes checkpoints faster than the disk takes them waits. */
async function makeRoomInMemory(state: State, sandbox: SandboxRow): Promise<void> {
  const { poolBytes } = state.config
  if (await state.writer.below(poolBytes, ROOM_WAIT_MS)) return
  throw new DeltaBoxError(
    'checkpoint_failed',
    `cannot take a checkpoint of sandbox ${labelOf(sandbox)}: the memory for checkpoints (${poolBytes} bytes) is full of what is not on disk yet`,
    { details: { step: 'make room in memory', bytes: poolBytes } },
  )
}

async function untilSettled<T>(state: State, attempt: (isFirst: boolean) => Promise<T>): Promise<T> {
  for (const [index, delayMs] of SETTLE_DELAYS_MS.entries()) {
    try {
      return await attempt(index === 0)
    } catch (error) {
      if (!isUnsettled(error) || state.stopping.signal.aborted) throw error
    }
    await delay(delayMs)
  }
  return await attempt(false)
}

function isUnsettled(error: unknown): boolean {
  const cause = error instanceof DeltaBoxError ? error.cause : undefined
  return cause instanceof EngineError && cause.code === 'unsettled'
}

/** The checkpoint and the sandbox's new head become visible together. */
function register(
  state: State,
  sandbox: SandboxRow,
  taken: Frozen,
  kind: Pick<CheckpointRow, 'label' | 'internal'>,
  toDisk: boolean,
): CheckpointRow {
  const size = taken.head && state.layers.measureSmall({ family: sandbox.family, id: sandbox.head })
  const row: CheckpointRow = {
    id: taken.id,
    family: sandbox.family,
    sandbox: sandbox.id,
    parent: positionOf(state, sandbox),
    layer: taken.layer,
    ...kind,
    unchanged: taken.isSameAsPosition,
    blockingUsec: taken.timings?.blocking ?? 0,
    processes: taken.processes ?? 0,
    files: taken.files ?? 0,
    memoryBytes: taken.memoryBytes ?? 0,
    image: taken.head ? ((taken.processes ?? 0) > 0 ? taken.id : null) : (taken.image ?? null),
    durable: false,
    fileBytes: taken.isOfSameFiles ? 0 : (size?.bytes ?? sizeOf(state, taken.layer)),
    createdAt: Date.now(),
  }
  state.store.transaction(() => {
    state.store.checkpoints.insert(row)
    if (row.image !== null) keepCommands(state, sandbox.id, row.id)
    if (row.image === row.id) {
      state.images.insert({ id: row.id, family: row.family, toDisk, memoryBytes: row.memoryBytes })
    }
    if (taken.head) freezeHead(state, sandbox, taken.head.id, row.id, taken.isOnNewChain, size)
    else state.store.sandboxes.setHead(sandbox.id, sandbox.head, row.id)
  })
  state.log.debug({ sandbox: sandbox.id, checkpoint: row.id, usec: row.blockingUsec }, 'checkpoint taken')
  state.events.emit({ type: 'checkpoint.created', sandbox: sandbox.id, checkpoint: row.id })
  if (row.image === row.id) state.images.taken(row.id)
  else state.upkeep.settle()
  state.afterwards.add(() => follow(state, sandbox, row))
  if (!taken.head) return row
  state.upkeep.frozen(sandbox.head)
  state.afterwards.add(() => state.merges.consider(sandbox.family, sandbox.head))
  return row
}

function follow(state: State, sandbox: SandboxRow, row: CheckpointRow): void {
  state.spares.mayBeUsed(state.families.get(sandbox.family), sandbox, row)
  if (sandbox.retention !== null) state.retention.consider(sandbox.id)
}

function sizeOf(state: State, layer: string | null): number | null {
  return layer === null ? 0 : (state.store.layers.get(layer)?.bytes ?? null)
}

/** The checkpoint it stands on may have been removed while the engine worked. */
function positionOf(state: State, sandbox: SandboxRow): string | null {
  return state.store.sandboxes.get(sandbox.id)?.checkpoint ?? null
}
