/** States that differ in a small file, and what it costs to come from one to another. */
import type { Checkpoint, Sandbox } from 'deltabox'
import type { Recorder, Samples } from '../recorder.js'
import type { Parameters } from '../results.js'
import { CALL, type Sdk, settle, until } from '../suite.js'

const FILE = '/srv/small'
const ROLLBACK = `${CALL}; what a small file says, and what a process holds open, is verified afterwards`
type Operation =
  | 'checkpoint'
  | 'checkpoint-blocking'
  | 'checkpoint-unchanged'
  | 'rollback-template'
  | 'rollback'
export type SamplesOf = (operation: Operation) => Samples

const TIMERS: Readonly<Record<Operation, string>> = {
  checkpoint: CALL,
  'checkpoint-blocking': 'how long the processes of the sandbox stood still, as the engine measures it',
  'checkpoint-unchanged': `${CALL}; nothing was written since the one before`,
  'rollback-template': ROLLBACK,
  /** Of a sandbox without processes. */
  rollback: `${CALL}; what a small file says is verified afterwards`,
}

export function samplesOf(record: Recorder, group: string, parameters: Parameters): SamplesOf {
  return (operation) =>
    record.samples({
      ...{ group, system: 'deltabox', operation, parameters },
      ...{ unit: 'ms', timer: TIMERS[operation] },
    })
}

let changes = 0

/** Gives what the file says now. */
export async function change(box: Sandbox): Promise<string> {
  changes += 1
  await box.files.write(FILE, String(changes))
  return String(changes)
}

export async function mustSay(box: Sandbox, wanted: string): Promise<void> {
  const said = await box.files.read(FILE)
  if (said !== wanted) throw new Error(`the small file says ${said} instead of ${wanted}`)
}

/** Undefined where it failed. Returns when nothing of it is left to do but to write it to disk. */
export async function timeCheckpoint(
  sandboxes: Sdk['Sandbox'],
  box: Sandbox,
  samples: SamplesOf,
): Promise<Checkpoint | undefined> {
  const taken = await samples('checkpoint').time(() => box.checkpoint())
  if (!taken) return undefined
  if (taken.unchanged) throw new Error('nothing was written before a checkpoint')
  samples('checkpoint-blocking').add(taken.blockingMs, taken.timings)
  await until(async () => (await sandboxes.getCheckpoint(taken.id)).state !== 'pending')
  return taken
}

/** Of the state it stands on. */
export async function timeUnchanged(box: Sandbox, samples: SamplesOf): Promise<Checkpoint | undefined> {
  const same = await samples('checkpoint-unchanged').time(() => box.checkpoint())
  if (same?.unchanged === false) throw new Error('something was written between two checkpoints')
  return same
}

/** To a state whose processes, if it has some, are in memory. False where it failed. */
export async function timeRollback(box: Sandbox, to: Checkpoint, samples: Samples): Promise<boolean> {
  await settle()
  const done = await samples.time(
    () => box.rollback(to),
    ({ timings }) => timings,
  )
  const source = to.processes > 0 ? done?.source : undefined
  if (source === 'image') throw new Error('a rollback came from disk')
  return done !== undefined
}
