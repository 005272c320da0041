/** How what checkpoints and rollbacks cost grows with what a process of 300 MB has changed since the last one. */
import type { Sandbox } from 'deltabox'

import { inside, type Worker } from '../inside/worker.js'
import { type Limit, limitTimers, withHost } from '../limit.js'
import { withOwnDaemon } from '../own-daemon.js'
import { type Bench, inTurns } from '../suite.js'
import { Steps } from './steps.js'

const GROUP = 'dirty'
const MEGABYTES = 300
const DIRTY = [0, 1, 4, 16, 64, 256]

export async function run(bench: Bench): Promise<void> {
  await withHost(({ limit }) =>
    withOwnDaemon(async ({ Sandbox }) => {
      const box = await Sandbox.create({ memory: '4g' })
      const { worker } = await inside(box, MEGABYTES)
      for (const megabytes of bench.size === 'full' ? DIRTY : [0, 16, 64]) {
        bench.say(`${megabytes} MB changed`)
        await measure(box, worker, limit, megabytes, bench)
      }
      await box.kill({ checkpoints: true })
    }),
  )
}

async function measure(
  box: Sandbox,
  worker: Worker,
  limit: Limit,
  megabytes: number,
  { size, record }: Bench,
): Promise<void> {
  const key = { group: GROUP, parameters: { megabytes } }
  const subject = { box, change: () => worker.ask(`dirty ${megabytes}`), answer: () => worker.ask('turns') }
  const steps = new Steps(record, { ...key, subject, restMs: 60 + 4 * megabytes })
  const kept = steps.samples(
    'kept',
    'bytes of memory that were copied for a checkpoint (memoryBytes)',
    'bytes',
  )
  const memcpy = {
    ...key,
    system: 'bare',
    operation: 'memcpy',
    unit: 'ms',
    timer: limitTimers.memcpy,
  } as const
  const bytes = megabytes << 20
  await steps.begin()
  await inTurns(size === 'full' ? 10 : 2, [
    ...(bytes > 0 ? [async () => record.samples(memcpy).add(await limit.memcpy(bytes))] : []),
    async () => {
      const state = await steps.checkpoint()
      if (state) kept.add(state.checkpoint.memoryBytes)
    },
    () => steps.nextCheckpoint(),
    () => steps.toLast(),
    () => steps.toEarlier(),
  ])
  await steps.end()
}
