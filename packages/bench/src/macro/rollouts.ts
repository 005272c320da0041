/** What reinforcement learning needs: many sandboxes in the state of one checkpoint, and again for the next step. */
import { withOwnDaemon } from '../own-daemon.js'
import type { Bench } from '../suite.js'
import { world } from './environments.js'
import { fanOut } from './fan-out.js'
import { played } from './played.js'

export async function run(bench: Bench): Promise<void> {
  const isFull = bench.size === 'full'
  await withOwnDaemon(async (sdk) => {
    const from = await world(sdk)
    await fanOut(from, bench, isFull ? 12 : 2)
    for (const children of isFull ? [16, 64] : [16]) await played(from, bench, children, isFull ? 6 : 2)
    await from.box.kill({ checkpoints: true })
  })
}
