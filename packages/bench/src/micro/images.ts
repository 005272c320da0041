/**
 * What a rollback costs whose processes are not in memory: all of them read from disk, or what differs from a state that is
 * there. The files of images are in the page cache.
 */
import type { Checkpoint, Sandbox } from 'deltabox'
import { inside, mustBe, type Worker } from '../inside/worker.js'
import { withOwnDaemon } from '../own-daemon.js'
import type { Samples } from '../recorder.js'
import { type Bench, inTurns, type Sdk, until } from '../suite.js'

const MEGABYTES = 50
const SOURCES = { 'rollback-image': 'image', 'rollback-nearby': 'image', 'rollback-template': 'template' }

interface State {
  readonly checkpoint: Checkpoint
  readonly turns: number
}

export async function run(bench: Bench): Promise<void> {
  // Nothing that no sandbox stands on stays in memory.
  await withOwnDaemon((sdk) => measure(sdk, bench), { DELTABOX_POOL_BYTES: '0' })
}

async function measure({ Sandbox }: Sdk, { size, record }: Bench): Promise<void> {
  const samplesOf = (operation: string): Samples =>
    record.samples({
      group: 'images',
      system: 'deltabox',
      operation,
      parameters: {},
      unit: 'ms',
      timer: 'from the call of the SDK to its return; what the worker holds is verified afterwards',
    })
  const box = await Sandbox.create()
  const { worker } = await inside(box, MEGABYTES)
  const early = await take(Sandbox, box, worker)
  const late = await take(Sandbox, box, worker)
  // Where another sandbox stands stays in memory.
  const [holder] = await late.checkpoint.fork(1)
  const other = await take(Sandbox, box, worker)
  const isOut = async (id: string): Promise<boolean> => !(await Sandbox.getCheckpoint(id)).inMemory
  const go =
    (operation: keyof typeof SOURCES, { checkpoint, turns }: State) =>
    async (): Promise<void> => {
      if (SOURCES[operation] === 'image') await until(() => isOut(checkpoint.id))
      const told = await samplesOf(operation).time(
        () => box.rollback(checkpoint),
        ({ timings }) => timings,
      )
      if (told && told.source !== SOURCES[operation]) throw new Error(`${operation} came from ${told.source}`)
      mustBe(await worker.ask('turns'), turns)
    }
  await inTurns(size === 'full' ? 25 : 5, [
    go('rollback-image', early),
    go('rollback-template', early),
    go('rollback-nearby', other),
  ])
  for (const one of [holder, box]) await one?.kill({ checkpoints: true })
}

async function take(sandboxes: Sdk['Sandbox'], box: Sandbox, worker: Worker): Promise<State> {
  const turns = await worker.ask('turn')
  const checkpoint = await box.checkpoint()
  await until(async () => (await sandboxes.getCheckpoint(checkpoint.id)).state === 'durable')
  return { checkpoint, turns }
}
