/** What a rollback costs whose processes are not in memory: read from disk as all of them, or as what differs from a state that is there. */
import type { Checkpoint, Sandbox } from 'deltabox'
import { print, printMachine, type Row, summary, timed, withOwnDaemon } from './measure.js'
import { inside, mustBe, type Worker } from './worker.js'

const short = process.argv.includes('--short')
const ROUNDS = short ? 5 : 25
const MEGABYTES = 50

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

async function measure(sdk: Sdk): Promise<void> {
  const { Sandbox } = sdk
  const box = await Sandbox.create()
  const { worker } = await inside(box, MEGABYTES)
  const early = await take(sdk, box, worker)
  const late = await take(sdk, box, worker)
  // Where another sandbox stands stays in memory.
  const [holder] = await late.checkpoint.fork(1)
  const samples: Record<string, number[]> = { image: [], template: [], nearby: [] }
  const go = async (what: string, { checkpoint, turns }: State, source: string): Promise<void> => {
    let from = ''
    const ms = await timed(async () => {
      from = (await box.rollback(checkpoint)).source
    })
    if (from !== source) throw new Error(`${what} came from ${from}`)
    samples[what]?.push(ms)
    mustBe(await worker.ask('turns'), turns)
  }
  const untilOut = ({ checkpoint }: State): Promise<void> =>
    until(async () => !(await Sandbox.getCheckpoint(checkpoint.id)).inMemory)
  const other = await take(sdk, box, worker)
  for (let round = 0; round < ROUNDS; round++) {
    await untilOut(early)
    await go('image', early, 'image')
    await go('template', early, 'template')
    await untilOut(other)
    await go('nearby', other, 'image')
  }
  report(samples)
  for (const one of [holder, box]) await one?.kill({ checkpoints: true })
}

const rows: Row[] = []

function report(samples: Readonly<Record<string, readonly number[]>>): void {
  const [image, template, nearby] = ['image', 'template', 'nearby'].map((what) =>
    summary(what, samples[what] ?? []),
  )
  if (!image || !template || !nearby) return
  rows.push(
    { ...image, what: `${MEGABYTES} MB: rollback, all read from disk` },
    { ...nearby, what: `${MEGABYTES} MB: rollback, what differs read from disk` },
    { ...template, what: `${MEGABYTES} MB: rollback, from memory` },
    {
      what: 'all from disk / from memory',
      median: image.median / template.median,
      p95: image.p95 / template.p95,
      unit: 'x',
    },
    {
      what: 'what differs from disk / from memory',
      median: nearby.median / template.median,
      p95: nearby.p95 / template.p95,
      unit: 'x',
    },
  )
}

await withOwnDaemon(measure, { DELTABOX_POOL_BYTES: '0' })
printMachine()
print(rows)
