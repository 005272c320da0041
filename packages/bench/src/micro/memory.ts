/** How what checkpoints, rollbacks and forks cost grows with what a process holds. 2 MB of it change between any two steps. */
import { totalmem } from 'node:os'
import { type Host, limitTimers, withHost } from '../limit.js'
import { withOwnDaemon } from '../own-daemon.js'
import { type Bench, inTurns, type Sdk } from '../suite.js'
import { Forks } from './forks.js'
import { Steps } from './steps.js'
import { twins } from './twins.js'

const GROUP = 'memory'
/** The worker, its twin, its template, its image in the page cache. */
const COPIES = 5

export async function run(bench: Bench): Promise<void> {
  const sizes = bench.size === 'full' ? [10, 50, 100, 250, 500, 1024, 2048] : [10, 50, 256]
  await withHost((host) =>
    withOwnDaemon(async (sdk) => {
      for (const megabytes of sizes) {
        if (totalmem() < COPIES * megabytes * 2 ** 20) {
          bench.record.skip(`a worker of ${megabytes} MB`, 'this machine has not enough memory')
        } else {
          bench.say(`${megabytes} MB`)
          await measure(sdk, host, megabytes, bench)
        }
      }
    }),
  )
}

async function measure(sdk: Sdk, host: Host, megabytes: number, { size, record }: Bench): Promise<void> {
  const one = await twins(sdk, host, megabytes)
  const { box, worker, handle } = one
  const key = { group: GROUP, parameters: { megabytes } }
  const subject = { box, change: () => worker.ask('turn'), answer: () => worker.ask('turns') }
  const steps = new Steps(record, { ...key, subject })
  const forks = new Forks(sdk, record, { ...key, handle })
  const bare = { ...key, system: 'bare', operation: 'fork', unit: 'ms', timer: limitTimers.fork } as const
  await steps.begin()
  await inTurns(size === 'full' ? 20 : 3, [
    async () => record.samples(bare).add(await one.bareFork()),
    async () => {
      const state = await steps.checkpoint()
      if (!state) return
      await forks.first(state, 1)
      await forks.again(state, 1)
    },
    () => steps.toLast(),
    () => steps.toEarlier(),
  ])
  await one.end()
}
