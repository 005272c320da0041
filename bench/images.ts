/** What a rollback costs whose processes are not in memory: all of them read from disk, or what differs from a state that is there. */
import type { Checkpoint, Sandbox } from 'deltabox'
import { CriuWorker } from './baselines/criu.js'
import { Promises, print, type Row, summary, withOwnDaemon } from './measure.js'
import { inside, mustBe, type Worker } from './worker.js'

const short = process.argv.includes('--short')
const ROUNDS = short ? 5 : 25
const MEGABYTES = 50
/** A short form has few samples and may run beside other tests. */
const MARGIN = short ? 3 : 1

type Sdk = typeof import('deltabox')

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20))
}

interface State {
  readonly checkpoint: Checkpoint
  readonly turns: number
}

async function take({ Sandbox: { getCheckpoint } }: Sdk, box: Sandbox, worker: Worker): Promise<State> {
  const turns = await worker.ask('turn')
  const checkpoint = await box.checkpoint()
  await until(async () => (await getCheckpoint(checkpoint.id)).state === 'durable')
  return { checkpoint, turns }
}

interface Samples {
  /** Through the SDK. */
  readonly back: number[]
  /** And until the worker has answered. */
  readonly answered: number[]
}

const samples = {
  image: { back: [], answered: [] } as Samples,
  nearby: { back: [], answered: [] } as Samples,
  template: { back: [], answered: [] } as Samples,
  criuDump: [] as number[],
  criuRestore: [] as number[],
}

async function measure(sdk: Sdk, criu: CriuWorker | undefined): Promise<void> {
  const { Sandbox } = sdk
  const box = await Sandbox.create()
  const { worker } = await inside(box, MEGABYTES)
  const early = await take(sdk, box, worker)
  const late = await take(sdk, box, worker)
  // Where another sandbox stands stays in memory.
  const [holder] = await late.checkpoint.fork(1)
  const go = async (what: Samples, { checkpoint, turns }: State, wanted: string): Promise<void> => {
    const started = performance.now()
    const { source } = await box.rollback(checkpoint)
    const back = performance.now()
    mustBe(await worker.ask('turns'), turns)
    what.answered.push(performance.now() - started)
    what.back.push(back - started)
    if (source !== wanted) throw new Error(`what should come from ${wanted} came from ${source}`)
  }
  const untilOut = ({ checkpoint }: State): Promise<void> =>
    until(async () => !(await Sandbox.getCheckpoint(checkpoint.id)).inMemory)
  const other = await take(sdk, box, worker)
  for (let round = 0; round < ROUNDS; round++) {
    await untilOut(early)
    await go(samples.image, early, 'image')
    await go(samples.template, early, 'template')
    await untilOut(other)
    await go(samples.nearby, other, 'image')
    if (criu) await dumpAndRestore(criu)
  }
  for (const one of [holder, box]) await one?.kill({ checkpoints: true })
}

async function dumpAndRestore(criu: CriuWorker): Promise<void> {
  const turns = await criu.worker.ask('turn')
  samples.criuDump.push(await criu.dump())
  samples.criuRestore.push(await criu.restore(turns))
}

type Summary = ReturnType<typeof summary>

function ratio(what: string, one: Summary, other: Summary): Row {
  return { what, median: one.median / other.median, p95: one.p95 / other.p95, unit: 'x' }
}

const notes = [
  'Files that are read are in the page cache, of both.',
  'Until the answer: from the call of the SDK, or the start of `criu restore`, until the worker has told how many turns it has made.',
  'DeltaBox ends what ran before within that, and puts files back; CRIU finds it ended, and restores a process only.',
]

const promises = new Promises(MARGIN)

function results(): Row[] {
  const size = `${MEGABYTES} MB:`
  const image = summary(`${size} rollback, all read from disk`, samples.image.back)
  const nearby = summary(`${size} rollback, what differs read from disk`, samples.nearby.back)
  const template = summary(`${size} rollback, from memory`, samples.template.back)
  return [
    image,
    nearby,
    template,
    promises.compare('image-rollback', 'all from disk / from memory', image.median / template.median),
    promises.compare('image-rollback-nearby', 'what differs / from memory', nearby.median / template.median),
  ]
}

function besideCriu({ version }: CriuWorker): Row[] {
  const image = summary('until the answer: rollback, all read from disk', samples.image.answered)
  const nearby = summary('until the answer: rollback, what differs', samples.nearby.answered)
  const template = summary('until the answer: rollback, from memory', samples.template.answered)
  const restore = summary(`until the answer: restore by CRIU ${version}`, samples.criuRestore)
  return [
    image,
    nearby,
    template,
    restore,
    summary(`dump by CRIU ${version}, the worker runs on`, samples.criuDump),
    ratio('all from disk / CRIU restore', image, restore),
    ratio('what differs from disk / CRIU restore', nearby, restore),
    ratio('from memory / CRIU restore', template, restore),
  ]
}

const criu = await CriuWorker.start(MEGABYTES)
const there = typeof criu === 'string' ? undefined : criu
try {
  await withOwnDaemon((sdk) => measure(sdk, there), { DELTABOX_POOL_BYTES: '0' })
} finally {
  await there?.end()
}
print({
  rows: [...results(), ...(there ? besideCriu(there) : [])],
  notes: there ? notes : [],
  skipped: typeof criu === 'string' ? [`CRIU: ${criu}`] : [],
})
promises.conclude()
