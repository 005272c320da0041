/** What one long run that goes back and forth takes of memory and disk, by what is kept of its states. */
import { Random } from '@deltabox/search'
import type { Checkpoint, Sandbox } from 'deltabox'
import { inside, mustBe, type Worker } from '../inside/worker.js'
import { withOwnDaemon } from '../own-daemon.js'
import type { Samples } from '../recorder.js'
import { type Bench, type Sdk, settle, until } from '../suite.js'
import { DISK, diskBytes, MEMORY, memoryBytes } from './footprint.js'

const MEGABYTES = 50
const FILES = 10
const STATES = { quick: 8, full: 120 }
const GONE_BACK_TO = { quick: 2, full: 5 }
const SETTLED_MS = 30
const UNLIMITED = String(2 ** 40)

interface Policy {
  readonly policy: string
  readonly poolBytes: string
  /** Of so many, once each is taken. */
  readonly keep?: { quick: number; full: number }
  /** Every so many steps change something. */
  readonly changesEvery: number
}

const POLICIES: readonly Policy[] = [
  { policy: 'no limit', poolBytes: UNLIMITED, changesEvery: 1 },
  { policy: 'pool limit', poolBytes: String(32 * 2 ** 20), changesEvery: 1 },
  { policy: 'garbage collection', poolBytes: UNLIMITED, keep: { quick: 3, full: 20 }, changesEvery: 1 },
  { policy: 'skip', poolBytes: UNLIMITED, changesEvery: 2 },
]

/** What the sandbox is to be like there. */
interface State {
  readonly checkpoint: Checkpoint
  readonly turns: number
  readonly says: string
}

export async function run(bench: Bench): Promise<void> {
  for (const policy of POLICIES) {
    bench.say(policy.policy)
    await withOwnDaemon((sdk) => search(sdk, policy, bench), { DELTABOX_POOL_BYTES: policy.poolBytes })
  }
}

async function search({ Client, Sandbox }: Sdk, policy: Policy, bench: Bench): Promise<void> {
  const { dataDir } = await Client.default().info()
  const box = await Sandbox.create()
  const { worker } = await inside(box, MEGABYTES)
  // The same for all of them.
  const random = new Random(1)
  const record = recorder(bench, policy, dataDir)
  const states: State[] = []
  let [turns, says] = [0, '']
  for (let step = 0; step < STATES[bench.size]; step++) {
    if (step % 3 === 2) ({ turns, says } = await goBack(box, random, states))
    const isChange = step % policy.changesEvery === 0
    if (isChange) {
      says = `${policy.policy} ${step}`
      turns = await change(box, worker, says)
    }
    const checkpoint = await box.checkpoint()
    if (checkpoint.unchanged && isChange) throw new Error('nothing was written before a checkpoint')
    if (!checkpoint.unchanged && !isChange)
      bench.record.note(`${policy.policy}: state ${step} is no mere record`)
    states.push({ checkpoint, turns, says })
    if (policy.keep) await box.prune({ keepLast: policy.keep[bench.size] })
    await until(() => isKept(Sandbox, checkpoint.id))
    await settle(SETTLED_MS)
    record()
  }
  for (let left = GONE_BACK_TO[bench.size]; left > 0; left--) {
    await verify(box, worker, await goBack(box, random, states))
  }
  await box.kill({ checkpoints: true })
}

function recorder({ record }: Bench, { policy }: Policy, dataDirectory: string): () => void {
  const samplesOf = (operation: string, timer: string): Samples =>
    record.samples({
      ...{ group: 'policies', system: 'deltabox', operation, parameters: { policy }, unit: 'bytes' },
      timer: `after each state, once its image is written: ${timer}. Some states are gone back to and verified at the end`,
    })
  const [memory, disk] = [samplesOf('memory', MEMORY), samplesOf('disk', DISK)]
  return () => {
    memory.add(memoryBytes(dataDirectory))
    disk.add(diskBytes(dataDirectory))
  }
}

/** Any that is left. */
async function goBack(box: Sandbox, random: Random, states: readonly State[]): Promise<State> {
  const left = new Set((await box.checkpoints()).map(({ id }) => id))
  const survivors = states.filter(({ checkpoint }) => left.has(checkpoint.id))
  const state = survivors[random.below(survivors.length)]
  if (!state) throw new Error('there is no state to go back to')
  await box.rollback(state.checkpoint)
  return state
}

function pathOf(file: number): string {
  return `/srv/state/${file}`
}

/** Gives how many turns the worker has made. */
async function change(box: Sandbox, worker: Worker, says: string): Promise<number> {
  const files = Array.from({ length: FILES }, (_, file) => file)
  await Promise.all(files.map((file) => box.files.write(pathOf(file), `${file} ${says}\n`)))
  const turns = await worker.ask('turn')
  // It writes to its memory until it waits for the next line.
  await settle(SETTLED_MS)
  return turns
}

async function verify(box: Sandbox, worker: Worker, { turns, says }: State): Promise<void> {
  mustBe(await worker.ask('turns'), turns)
  for (let file = 0; file < FILES; file++) {
    const said = await box.files.read(pathOf(file))
    if (said !== `${file} ${says}\n`) throw new Error(`a file says ${said} instead of ${file} ${says}`)
  }
}

/** Then it may go out of memory. */
async function isKept(sandboxes: Sdk['Sandbox'], id: string): Promise<boolean> {
  const { state, reason, imageBytes } = await sandboxes.getCheckpoint(id)
  if (state === 'failed') throw new Error(`a checkpoint failed: ${reason}`)
  return imageBytes !== null
}
