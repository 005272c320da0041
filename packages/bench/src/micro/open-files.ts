/** What open files cost, that are moved to the new layer while the sandbox stands still. */
import type { Sandbox } from 'deltabox'
import { type Holder, holding } from '../inside/holder.js'
import { withOwnDaemon } from '../own-daemon.js'
import { type Bench, inTurns, type Sdk } from '../suite.js'
import { change, type SamplesOf, samplesOf, timeCheckpoint, timeUnchanged } from './states.js'

const CASES = [
  { group: 'open-files', mode: 'r', counts: [0, 10, 100, 1000] },
  { group: 'open-files-writing', mode: 'w', counts: [0, 10, 100] },
] as const

interface Case {
  readonly box: Sandbox
  readonly holder: Holder
  readonly samples: SamplesOf
}

export async function run(bench: Bench): Promise<void> {
  // Chains grow alike, and nothing is put together meanwhile.
  await withOwnDaemon(({ Sandbox }) => measure(Sandbox, bench), { DELTABOX_MERGE_DEPTH: '400' })
}

async function measure(sandboxes: Sdk['Sandbox'], { size, record }: Bench): Promise<void> {
  const cases: Case[] = []
  for (const { group, mode, counts } of CASES) {
    for (const files of counts) {
      const box = await sandboxes.create()
      const holder = await holding(box, files, mode)
      // The first one has all of the process to copy.
      await box.checkpoint()
      cases.push({ box, holder, samples: samplesOf(record, group, { files }) })
    }
  }
  const rounds = cases.map(({ box, samples }) => async (): Promise<void> => {
    await change(box)
    if (await timeCheckpoint(sandboxes, box, samples)) await timeUnchanged(box, samples)
  })
  await inTurns(size === 'full' ? 51 : 7, rounds)
  for (const { box, holder } of cases) {
    await holder.verify()
    await box.kill({ checkpoints: true })
  }
}
