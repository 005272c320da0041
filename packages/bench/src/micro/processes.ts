/**
 * How what checkpoints and rollbacks cost grows with the number of processes, which hold 5 MB each: started one by one, or forked
 * by one of them, which cannot be forked of templates as they are, since they are that one's children.
 */
import { withOwnDaemon } from '../own-daemon.js'
import type { Bench } from '../suite.js'
import { type Crew, measureCrew } from './crew.js'

const MEGABYTES = 5

const origins = {
  started: (count: number): Crew => ({
    kind: 'processes',
    programs: count,
    members: 1,
    megabytes: MEGABYTES,
  }),
  forked: (count: number): Crew => ({ kind: 'processes', programs: 1, members: count, megabytes: MEGABYTES }),
}

export async function run(bench: Bench): Promise<void> {
  await withOwnDaemon(async (sdk) => {
    for (const processes of bench.size === 'full' ? [1, 2, 10, 50] : [1, 10]) {
      for (const [origin, crew] of Object.entries(origins)) {
        // One that is alone is as if it was started.
        if (processes === 1 && origin === 'forked') continue
        bench.say(`${processes} processes, ${origin}`)
        await measureCrew(sdk, bench, crew(processes), {
          group: 'processes',
          parameters: { processes, origin },
        })
      }
    }
  })
}
