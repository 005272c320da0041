/** Going back: a sandbox gets an earlier state, in a new cell that is complete before the old one ends. */
import { DeltaBoxError, type RollbackSandbox, type RolledBack } from '@deltabox/protocol'
import type { Ok } from '../engine/messages.js'
import { bringBack } from './bring-back.js'
import type { CheckpointRow } from './checkpoint-table.js'
import { findCheckpoint } from './checkpoints.js'
import { moveTo } from './heads.js'
import type { ImageSource } from './images.js'
import { revive } from './revive.js'
import type { SandboxRow } from './sandbox-table.js'
import { ask, findSandbox, labelOf } from './sandboxes.js'
import type { State } from './state.js'
import { milliseconds, rounded } from './timings.js'

export function rollbackSandbox(
  state: State,
  reference: string,
  request: RollbackSandbox,
): Promise<RolledBack> {
  const started = performance.now()
  const { id } = findSandbox(state, reference)
  return state.serial.run(id, async () => {
    const sandbox = findSandbox(state, id)
    const checkpoint = findCheckpoint(state, request.checkpoint)
    refuseStranger(sandbox, checkpoint)
    const { stopped, revived, timings, image, source } = await standOn(state, sandbox, checkpoint)
    const ms = performance.now() - started
    state.afterwards.add(() => {
      const spare = image === null ? null : { image, sandbox: id }
      state.spares.used(state.families.get(sandbox.family), sandbox, spare, 1)
      state.metrics.rollbackSeconds.observe(ms / 1000)
      state.log.info({ sandbox: id, checkpoint: checkpoint.id, ms, stopped }, 'sandbox rolled back')
    })
    state.events.emit({ type: 'sandbox.rolled-back', sandbox: id, checkpoint: checkpoint.id })
    return {
      sandbox: id,
      checkpoint: checkpoint.id,
      ms: rounded(ms),
      source,
      stopped,
      processes: revived,
      lost: image === null ? checkpoint.processes : 0,
      timings: milliseconds(timings),
    }
  })
}

function refuseStranger(sandbox: SandboxRow, checkpoint: CheckpointRow): void {
  if (sandbox.family === checkpoint.family) return
  throw new DeltaBoxError(
    'checkpoint_of_other_base',
    `cannot roll sandbox ${labelOf(sandbox)} back to ${checkpoint.id}: they do not descend from the same sandbox`,
    { details: { sandbox: sandbox.id, checkpoint: checkpoint.id } },
  )
}

interface Stood extends Pick<Ok<'sandbox.rollback'>, 'stopped' | 'revived' | 'timings'> {
  readonly image: string | null
  readonly source: ImageSource
}

async function standOn(state: State, sandbox: SandboxRow, checkpoint: CheckpointRow): Promise<Stood> {
  const doing = `roll sandbox ${labelOf(sandbox)} back to ${checkpoint.id}`
  return await state.images.use(checkpoint, doing, async (image, source) => {
    // To bring them in takes a while, in which its layers may have been put together, or it was removed.
    const now = findCheckpoint(state, checkpoint.id)
    const reply = await standOnFiles(state, sandbox, now, image, doing)
    return { ...reply, image, source }
  })
}

async function standOnFiles(
  state: State,
  sandbox: SandboxRow,
  checkpoint: CheckpointRow,
  known: string | null,
  doing: string,
): Promise<Pick<Ok<'sandbox.rollback'>, 'stopped' | 'revived' | 'timings'>> {
  const { id, family } = sandbox
  const { id: target, layer: parent } = checkpoint
  const head = state.layers.newHead({ family, sandbox: id, parent, target })
  try {
    const image = known === null ? {} : { image: known }
    if (sandbox.state === 'dead') return await revive(state, sandbox, { head, target, ...image }, doing)
    const layers = state.layers.chainDirectories({ family, top: parent })
    const parameters = { sandbox: id, layers, head: state.layers.directory(head), ...image }
    const reply = await ask(state, sandbox, doing, 'sandbox.rollback', parameters)
    state.store.transaction(() => {
      bringBack(state, id, target, reply.processes)
      // Where it stands has moved with its checkpoint, if that was removed meanwhile.
      moveTo(state, sandbox, head.id, state.store.layers.get(head.id)?.target ?? null)
    })
    state.layers.dropSoon(sandbox.head)
    return reply
  } catch (error) {
    if ((error as { code?: string }).code !== 'engine_lost') state.layers.abandon(head)
    throw error
  }
}
