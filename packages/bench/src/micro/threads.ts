/** How what checkpoints and rollbacks cost grows with the number of threads of a process of 64 MB. */
import { withOwnDaemon } from '../own-daemon.js'
import type { Bench } from '../suite.js'
import { measureCrew } from './crew.js'

const MEGABYTES = 64

export async function run(bench: Bench): Promise<void> {
  await withOwnDaemon(async (sdk) => {
    for (const threads of bench.size === 'full' ? [1, 4, 16, 64] : [1, 16]) {
      bench.say(`${threads} threads`)
      const crew = { kind: 'threads', programs: 1, members: threads, megabytes: MEGABYTES / threads } as const
      await measureCrew(sdk, bench, crew, { group: 'threads', parameters: { threads } })
    }
  })
}
