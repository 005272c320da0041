/** What each operation costs: of a sandbox with nothing in it, and of one with a worker that holds 50 MB and changes 2 MB between any two steps. */
import { type Host, type LimitName, limitTimers, withHost } from '../limit.js'
import { withOwnDaemon } from '../own-daemon.js'
import type { Recorder } from '../recorder.js'
import type { Parameters } from '../results.js'
import { type Bench, inTurns, type Sdk } from '../suite.js'
import { execFirst, measureCommands } from './commands.js'
import { measureFootprint } from './footprint.js'
import { Forks } from './forks.js'
import { Steps } from './steps.js'
import { type Twins, twins } from './twins.js'

const GROUP = 'operations'
const MEGABYTES = 50
const CHANGED_BYTES = 2 << 20
const LAYERS = [1, 8, 32]

export async function run(bench: Bench): Promise<void> {
  await withHost((host) =>
    withOwnDaemon(async (sdk) => {
      bench.say('commands')
      await measureFootprint(sdk, bench.record, GROUP)
      await measureCommands(sdk, bench, GROUP)
      await measureWorker(sdk, host, bench)
    }),
  )
}

async function measureWorker(sdk: Sdk, host: Host, bench: Bench): Promise<void> {
  const { size, record, say } = bench
  const one = await twins(sdk, host, MEGABYTES)
  const { box, worker } = one
  const subject = { box, change: () => worker.ask('turn'), answer: () => worker.ask('turns') }
  const steps = new Steps(record, { group: GROUP, parameters: {}, subject })
  await steps.begin()
  const exec = execFirst(record, GROUP, 'rollback')
  say('checkpoints and rollbacks')
  await inTurns(size === 'full' ? 100 : 5, [
    ...(await limits(host, one, record)),
    () => steps.checkpoint(),
    () => steps.nextCheckpoint(),
    () => steps.checkpointOfNothing(),
    () => steps.toLast(),
    () => exec(box),
    () => steps.toEarlier(),
  ])
  say('forks')
  await measureForks(sdk, one, steps, bench)
  await one.end()
}

type Measure = () => Promise<void>

/** In turns with what they limit. */
async function limits({ limit }: Host, { bareFork }: Twins, record: Recorder): Promise<Measure[]> {
  const add =
    (operation: LimitName, measure: () => Promise<number>, parameters: Parameters = {}): Measure =>
    async () => {
      const key = { group: GROUP, system: 'bare', operation, parameters, unit: 'ms' as const }
      record.samples({ ...key, timer: limitTimers[operation] }).add(await measure())
    }
  const overlays = LAYERS.map((layers) => add('overlay-mount', () => limit.overlayMount(layers), { layers }))
  try {
    await limit.overlayMount(1)
  } catch (error) {
    record.skip('bare overlay mount', String(error))
    overlays.length = 0
  }
  return [
    add('fork', bareFork),
    add('memcpy', () => limit.memcpy(CHANGED_BYTES), { bytes: CHANGED_BYTES }),
    add('namespaces', limit.namespaces),
    ...overlays,
  ]
}

/** All of one round are forked of a checkpoint of their own. */
async function measureForks(sdk: Sdk, one: Twins, steps: Steps, { size, record }: Bench): Promise<void> {
  const isFull = size === 'full'
  const counts = isFull ? [1, 4, 16, 64] : [1, 4, 16]
  const bare = { group: GROUP, system: 'bare', operation: 'fork', parameters: {}, unit: 'ms' } as const
  const forks = new Forks(sdk, record, {
    group: GROUP,
    parameters: {},
    handle: one.handle,
    before: execFirst(record, GROUP, 'fork'),
  })
  await inTurns(
    isFull ? 10 : 2,
    counts.map((count) => async () => {
      const state = await steps.keep()
      await forks.first(state, count)
      record.samples({ ...bare, timer: limitTimers.fork }).add(await one.bareFork())
      await forks.again(state, count)
      await forks.untilAnswered(state, count)
    }),
  )
}
