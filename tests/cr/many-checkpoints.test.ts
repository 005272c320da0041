/**
 * Thousands of states of one busy sandbox, with little memory to keep them in: each can be gone back to, memory stays bounded, and the disk
 * grows by what has changed. `DELTABOX_TEST_STATES` says how many.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { type Checkpoint, Sandbox } from 'deltabox'
import { expect, it } from 'vitest'
import { enginesOf } from '../e2e/support/engines.js'
import { useDaemon } from '../e2e/support/use-daemon.js'
import { Churn } from './support/churn.js'
import { random } from './support/random.js'

const COUNT = Number(process.env.DELTABOX_TEST_STATES ?? '60')
const POOL_BYTES = 64 << 20
/** The engine itself, what the live sandbox stands on, and what is being written or read. */
const BEYOND_BYTES = 160 << 20
const the = useDaemon({ DELTABOX_POOL_BYTES: String(POOL_BYTES) })

/** What the engine and its templates have, each page of several counted in parts. */
function residentBytes(engine: number): number {
  const children = readFileSync(`/proc/${engine}/task/${engine}/children`, 'utf8').trim().split(' ')
  const own = [String(engine), ...children].filter((pid) => nameOf(pid).startsWith('deltabox'))
  return own.reduce((sum, pid) => sum + proportionalBytes(pid), 0)
}

function nameOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8')
  } catch {
    return ''
  }
}

function proportionalBytes(pid: string): number {
  try {
    const told = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
    return Number(/^Pss:\s+(\d+) kB/m.exec(told)?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}

/** A file with several names counts once. */
function bytesIn(directory: string): number {
  const entries = readdirSync(directory, { withFileTypes: true, recursive: true })
  const files = new Map<number, number>()
  for (const entry of entries.filter((one) => one.isFile())) {
    const { ino, blocks } = statSync(path.join(entry.parentPath, entry.name))
    files.set(ino, blocks * 512)
  }
  return [...files.values()].reduce((sum, bytes) => sum + bytes, 0)
}

it(`${COUNT} states can be gone back to`, async () => {
  const worker = await Churn.start(the.client, 48)
  const { box } = worker
  await worker.step(0)
  const states: { checkpoint: Checkpoint; digest: number }[] = []
  let changed = 0
  let most = 0
  const [engine = 0] = enginesOf(the.daemon).values()
  const first = await box.checkpoint()
  for (let number = 1; number <= COUNT; number++) {
    changed += await worker.step(number)
    states.push({ digest: await worker.digest(), checkpoint: await box.checkpoint(String(number)) })
    if (number % 10 === 0) most = Math.max(most, residentBytes(engine))
  }
  const look = async (checkpoint: Checkpoint): Promise<Checkpoint> =>
    await Sandbox.getCheckpoint(checkpoint.id, { client: the.client })
  for (const { checkpoint } of states) {
    await expect.poll(async () => (await look(checkpoint)).state, { timeout: 60_000 }).toBe('durable')
  }
  const families = path.join(the.daemon.dataDir, 'families')
  const start = (await look(first)).imageBytes ?? 0
  const grown = bytesIn(families) - start
  console.log(
    `${COUNT} states: ${(changed / COUNT / 2 ** 20).toFixed(2)} MB changed each, on disk ${(grown / changed).toFixed(2)} of that, most in memory ${(most / 2 ** 20).toFixed(0)} MB`,
  )
  const sources = { template: 0, image: 0 }
  const took: number[] = []
  const dice = random(7)
  for (let round = 0; round < COUNT; round++) {
    const state = states[Math.floor(dice() * COUNT)]
    if (!state) throw new Error('there is no such state')
    const { source, ms } = await box.rollback(state.checkpoint)
    sources[source]++
    if (source === 'image') took.push(ms)
    expect(await worker.digest()).toBe(state.digest)
    if (round % 10 === 0) most = Math.max(most, residentBytes(engine))
  }
  took.sort((a, b) => a - b)
  console.log(
    `rollbacks: ${sources.template} from memory, ${sources.image} from disk, those ${took[took.length >> 1]} ms at the median; most in memory ${(most / 2 ** 20).toFixed(0)} MB`,
  )
  expect(sources.image).toBeGreaterThan(0)
  expect(most).toBeLessThan(POOL_BYTES + BEYOND_BYTES)
  expect(grown).toBeLessThan(1.5 * changed)
  await box.kill({ checkpoints: true })
}, 3_600_000)
