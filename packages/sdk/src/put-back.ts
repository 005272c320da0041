import { DeltaBoxError } from '@deltabox/protocol/errors'
import type { CallOptions } from './cancel.js'
import type { Checkpoint } from './checkpoint.js'
import type { Sandbox } from './sandbox.js'

type Work<T> = () => T | Promise<T>

/** Runs the work and puts everything back. */
export async function dryRun<T>(box: Sandbox, work: Work<T>, options: CallOptions): Promise<T> {
  const before = await box.checkpoint({ ...options, label: 'dry run', disk: false })
  const result = await attempt(box, before, work)
  await putBack(box, before)
  return result
}

/** Runs the work and puts everything back when it throws. */
export async function transaction<T>(box: Sandbox, work: Work<T>, options: CallOptions): Promise<T> {
  const before = await box.checkpoint({ ...options, label: 'transaction', disk: false })
  const result = await attempt(box, before, work)
  await before.delete()
  return result
}

async function attempt<T>(box: Sandbox, before: Checkpoint, work: Work<T>): Promise<T> {
  try {
    return await work()
  } catch (fault) {
    await putBack(box, before, fault)
    throw fault
  }
}

/** When the rollback fails the checkpoint stays: it is the only way back, and the error names it. */
async function putBack(box: Sandbox, before: Checkpoint, fault?: unknown): Promise<void> {
  try {
    await box.rollback(before)
  } catch (error) {
    const { code, message, details } = error as DeltaBoxError
    throw new DeltaBoxError(code, `${message}; checkpoint ${before.id} keeps the state to go back to`, {
      cause: fault === undefined ? error : new AggregateError([error, fault], message),
      details: { ...details, checkpoint: before.id },
    })
  }
  await before.delete()
}
