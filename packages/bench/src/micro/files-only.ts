/** What checkpoints, rollbacks and forks cost where no process runs. */
import type { Checkpoint, Sandbox } from 'deltabox'
import { withOwnDaemon } from '../own-daemon.js'
import type { Recorder, Samples } from '../recorder.js'
import { type Bench, CALL, inTurns, rested, type Sdk } from '../suite.js'
import { change, mustSay, samplesOf, timeCheckpoint, timeRollback, timeUnchanged } from './states.js'

const GROUP = 'files-only'
const ROUNDS = { quick: 11, full: 51 }
const FORK_ROUNDS = { quick: 3, full: 11 }

interface State {
  readonly checkpoint: Checkpoint
  readonly says: string
}

export async function run(bench: Bench): Promise<void> {
  await withOwnDaemon(({ Sandbox }) => measure(Sandbox, bench))
}

async function measure(sandboxes: Sdk['Sandbox'], { size, record }: Bench): Promise<void> {
  const box = await sandboxes.create()
  const says = await change(box)
  const origin = { says, checkpoint: await box.checkpoint() }
  await inTurns(ROUNDS[size], [() => onAndBack(sandboxes, box, origin, record)])
  const forks = [
    forking(origin, 16, 1, record),
    forking(origin, 1, 16, record),
    forking(origin, 1, 1, record),
  ]
  if (size === 'full') forks.push(forking(origin, 64, 1, record))
  await inTurns(FORK_ROUNDS[size], forks)
  await box.kill({ checkpoints: true })
}

function samplesFor(record: Recorder, operation: string, timer: string): Samples {
  return record.samples({ group: GROUP, system: 'deltabox', operation, parameters: {}, unit: 'ms', timer })
}

async function onAndBack(
  sandboxes: Sdk['Sandbox'],
  box: Sandbox,
  origin: State,
  record: Recorder,
): Promise<void> {
  const samples = samplesOf(record, GROUP, {})
  await change(box)
  const taken = await timeCheckpoint(sandboxes, box, samples)
  const same = await timeUnchanged(box, samples)
  await change(box)
  if (!(await timeRollback(box, origin.checkpoint, samples('rollback')))) return
  await mustSay(box, origin.says)
  for (const checkpoint of [same, taken]) await checkpoint?.delete()
}

/** So many at once, so often. */
function forking(
  { checkpoint, says }: State,
  count: number,
  times: number,
  record: Recorder,
): () => Promise<void> {
  const operation = times === 1 ? `fork-${count}` : `fork-${count}-${times}-times`
  const calls =
    times === 1
      ? CALL
      : `from the first of ${times} calls of the SDK, one after the other, to the return of the last`
  const samples = samplesFor(record, operation, `${calls}; the files of every child are verified afterwards`)
  return async () => {
    const kids: Sandbox[] = []
    await samples.time(async () => {
      for (let time = 0; time < times; time++) kids.push(...(await checkpoint.fork(count)))
    })
    for (const kid of kids) {
      await mustSay(kid, says)
      await kid.kill()
    }
    await rested(kids.length)
  }
}
