/** What it costs that a sandbox stands on many layers. */
import type { Checkpoint, Sandbox } from 'deltabox'
import { type Holder, holding } from '../inside/holder.js'
import { withOwnDaemon } from '../own-daemon.js'
import { type Bench, inTurns, type Sdk } from '../suite.js'
import { change, mustSay, type SamplesOf, samplesOf, timeCheckpoint, timeRollback } from './states.js'

const LAYERS = { quick: [1, 8, 25, 64], full: [1, 8, 25, 64, 128, 200] }

interface State {
  readonly checkpoint: Checkpoint
  readonly says: string
}

export async function run(bench: Bench): Promise<void> {
  // The depth of a chain is what is measured.
  await withOwnDaemon(({ Sandbox }) => measure(Sandbox, bench), { DELTABOX_MERGE_DEPTH: '400' })
}

async function measure(sandboxes: Sdk['Sandbox'], { size, record }: Bench): Promise<void> {
  const box = await sandboxes.create()
  const holder = await holding(box, 3, 'w')
  const states = await chain(box, LAYERS[size])
  const rounds = states.map((state) => {
    const samples = samplesOf(record, 'depth', { layers: state.checkpoint.depth })
    return () => backAndOn(sandboxes, box, holder, state, samples)
  })
  await inTurns(size === 'full' ? 51 : 5, rounds)
  await box.kill({ checkpoints: true })
}

/** One of each depth. */
async function chain(box: Sandbox, depths: readonly number[]): Promise<State[]> {
  const states: State[] = []
  for (let depth = 1; depth <= Math.max(...depths); depth++) {
    const says = await change(box)
    const checkpoint = await box.checkpoint()
    if (checkpoint.depth !== depth) throw new Error(`${checkpoint.depth} layers instead of ${depth}`)
    if (depths.includes(depth)) states.push({ checkpoint, says })
  }
  return states
}

/** To where it stands on so many layers, and a checkpoint of what is written there. */
async function backAndOn(
  sandboxes: Sdk['Sandbox'],
  box: Sandbox,
  holder: Holder,
  { checkpoint, says }: State,
  samples: SamplesOf,
): Promise<void> {
  if (!(await timeRollback(box, checkpoint, samples('rollback-template')))) return
  await mustSay(box, says)
  await holder.verify()
  await change(box)
  const taken = await timeCheckpoint(sandboxes, box, samples)
  // Of as many layers as before: it is not a state to go back to.
  await taken?.delete()
}
