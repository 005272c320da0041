/** States that come from states: deep rows of them, and long ones. */
import { readdirSync, readFileSync } from 'node:fs'
import { inside } from '@deltabox/bench/inside'
import { type Checkpoint, Sandbox } from 'deltabox'
import { expect, it } from 'vitest'
import { connectEngine } from '../e2e/support/engine-connection.js'
import { useDaemon } from '../e2e/support/use-daemon.js'
import { Family, type Relative } from './support/family.js'
import { Ledger } from './support/ledger.js'
import { Victim } from './support/victim.js'

const the = useDaemon()

const GENERATIONS = 50
const CHECKPOINTS = 200

it(`goes on through ${GENERATIONS} generations of forks of rollbacks of forks`, {
  timeout: 600_000,
}, async () => {
  const first = await Sandbox.create({ client: the.client })
  const checkpoints: Checkpoint[] = []
  let box = first
  let ledger = await Ledger.start(box)
  for (let generation = 1; generation <= GENERATIONS; generation++) {
    expect(await ledger.add()).toBe(String(generation))
    const checkpoint = await box.checkpoint()
    checkpoints.push(checkpoint)
    await ledger.add()
    expect((await box.rollback(checkpoint)).source).toBe('template')
    expect(await ledger.tell()).toBe(String(generation))
    const [kid] = await box.fork(1)
    if (!kid) throw new Error('no kid')
    ledger = await ledger.in(kid)
    if (box !== first) await box.kill()
    box = kid
  }
  expect(await ledger.tell()).toBe(String(GENERATIONS))
  for (const [index, checkpoint] of [...checkpoints.entries()].reverse().filter(([at]) => at % 7 === 0)) {
    await box.rollback(checkpoint)
    expect(await ledger.tell()).toBe(String(index + 1))
  }
  await box.kill({ checkpoints: true })
  await first.kill({ checkpoints: true })
})

it('copies what a child has written since a rollback, not all it has', async () => {
  const megabyte = 2 ** 20
  const box = await Sandbox.create({ client: the.client })
  const victim = await Victim.start(box, 'pool.py')
  const first = await box.checkpoint()
  expect(first.memoryBytes).toBeGreaterThan(20 * megabyte)
  for (let round = 0; round < 3; round++) {
    await box.rollback(first)
    const { memoryBytes } = await box.checkpoint()
    expect(memoryBytes).toBeLessThan(2 * megabyte)
    await victim.verify()
  }
  await box.kill({ checkpoints: true })
})

it('copies much that was written since a rollback while it runs', async () => {
  const box = await Sandbox.create({ client: the.client })
  const { worker } = await inside(box, 96)
  const first = await box.checkpoint()
  for (let round = 1; round <= 3; round++) {
    await box.rollback(first)
    expect(await worker.ask('turns')).toBe(0)
    await worker.ask('dirty 64')
    const second = await box.checkpoint()
    expect(second.memoryBytes).toBeGreaterThan(64 * 2 ** 20)
    expect(second.memoryBytes).toBeLessThan(70 * 2 ** 20)
    expect(second.blockingMs).toBeLessThan(second.timings?.['copy ahead'] ?? 0)
    await worker.ask('dirty 1')
    await box.rollback(second)
    expect(await worker.ask('turns')).toBe(1)
  }
  await box.kill({ checkpoints: true })
})

/** With those of a cell that is on its way out. */
function running(family: Family): Relative[] {
  return family.members().filter(({ tracer, command }) => tracer === 0 && command === 'python3')
}

/** What its processes have each for itself. */
function ownBytes(family: Family): number {
  return running(family).reduce((sum, { pid }) => sum + privateBytes(pid), 0)
}

function privateBytes(pid: number): number {
  const told = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
  const parts = [...told.matchAll(/^Private_(?:Clean|Dirty):\s+(\d+) kB/gm)]
  return parts.reduce((sum, [, kilobytes]) => sum + Number(kilobytes) * 1024, 0)
}

it('processes that have memory in common have it in common after checkpoints and rollbacks', async () => {
  const box = await Sandbox.create({ client: the.client })
  await Victim.start(box, 'pool.py')
  const family = new Family(the.daemon, box.id)
  const most = ownBytes(family) * 1.5
  const checkpoint = await box.checkpoint()
  expect(ownBytes(family)).toBeLessThan(most)
  for (let round = 0; round < 3; round++) {
    await box.rollback(checkpoint)
    await expect.poll(() => running(family).length, { interval: 5, timeout: 10_000 }).toBe(5)
    expect(ownBytes(family)).toBeLessThan(most)
  }
  await box.kill({ checkpoints: true })
})

interface Cost {
  readonly copied: number
  readonly standing: number
  readonly descriptors: number
  readonly areas: number
}

function costOf(family: Family, { memoryBytes }: Checkpoint): Cost {
  const standing = family.templates()
  const [youngest = { pid: 0 }] = standing.filter(
    ({ inner }) => inner === Math.max(...standing.map((s) => s.inner)),
  )
  return {
    copied: memoryBytes,
    standing: standing.length,
    descriptors: readdirSync(`/proc/${family.engine}/fd`).length,
    areas: readFileSync(`/proc/${youngest.pid}/maps`, 'utf8').split('\n').length,
  }
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0
}

it(`costs after ${CHECKPOINTS} checkpoints in a row what it did at first`, { timeout: 600_000 }, async () => {
  const box = await Sandbox.create({ client: the.client })
  const ledger = await Ledger.start(box, 0)
  const family = new Family(the.daemon, box.id)
  const checkpoints: Checkpoint[] = []
  const costs: Cost[] = []
  for (let i = 0; i < CHECKPOINTS; i++) {
    await ledger.add()
    const checkpoint = await box.checkpoint()
    checkpoints.push(checkpoint)
    if (i >= 35 && i < CHECKPOINTS - 30) continue
    await expect
      .poll(() => family.templates().length, { interval: 5, timeout: 10_000 })
      .toBe(checkpoint.processes * checkpoints.length)
    // What stands ready for the latest has descriptors, too.
    await expect
      .poll(() => family.spares().length, { interval: 5, timeout: 10_000 })
      .toBe(checkpoint.processes * Math.min(8, checkpoints.length))
    costs.push(costOf(family, checkpoint))
  }
  const early = costs.slice(10, 35)
  const late = costs.slice(-30)
  const of = (list: readonly Cost[], key: keyof Cost): number => median(list.map((cost) => cost[key]))
  const per = (key: keyof Cost): number[] =>
    [early, late].map((list) => ((list.at(-1)?.[key] ?? 0) - (list[0]?.[key] ?? 0)) / (list.length - 1))
  expect(of(late, 'copied')).toBeLessThan(of(early, 'copied') * 1.2)
  expect(of(late, 'areas')).toBeLessThanOrEqual(of(early, 'areas') + 2)
  const [standingEarly, standingLate] = per('standing')
  expect(standingLate).toBe(standingEarly)
  const [descriptorsEarly = 0, descriptorsLate] = per('descriptors')
  expect(descriptorsLate).toBeCloseTo(descriptorsEarly, 0)
  const back = async (checkpoint: Checkpoint | undefined, number: number): Promise<[number, number]> => {
    if (!checkpoint) throw new Error('no checkpoint')
    const { timings } = await box.rollback(checkpoint)
    expect(await ledger.tell()).toBe(String(number))
    await ledger.add()
    return [timings.total ?? 0, (await box.checkpoint()).blockingMs]
  }
  const [toEarly, toLate]: [[number, number][], [number, number][]] = [[], []]
  for (let i = 0; i < 15; i++) {
    toEarly.push(await back(checkpoints[i + 1], i + 2))
    toLate.push(await back(checkpoints.at(-1 - i), CHECKPOINTS - i))
  }
  for (const at of [0, 1] as const) {
    // What else the machine does makes it longer, never shorter.
    const [first, last] = [toEarly, toLate].map((list) => Math.min(...list.map((times) => times[at])))
    expect(last, ['rollback', 'blocking'][at]).toBeLessThan((first ?? 0) * 2)
  }
  await box.kill({ checkpoints: true })
})

it('templates end with their checkpoints', async () => {
  const box = await Sandbox.create({ client: the.client })
  const ledger = await Ledger.start(box)
  const family = new Family(the.daemon, box.id)
  const checkpoints: Checkpoint[] = []
  for (let i = 0; i < 20; i++) {
    await ledger.add()
    checkpoints.push(await box.checkpoint())
  }
  const processes = checkpoints[0]?.processes ?? 0
  const standing = (): number => family.templates().length
  await expect.poll(standing).toBe(processes * checkpoints.length)
  const kept = checkpoints.filter((_, index) => index % 3 === 1)
  for (const checkpoint of checkpoints) if (!kept.includes(checkpoint)) await checkpoint.delete()
  await expect.poll(standing).toBe(processes * kept.length)
  for (const checkpoint of kept) {
    await box.rollback(checkpoint)
    expect(await ledger.tell()).toBe(String(checkpoints.indexOf(checkpoint) + 1))
  }
  for (const checkpoint of kept) await checkpoint.delete()
  await expect.poll(standing).toBe(0)
  expect(await ledger.add()).toBe(String(checkpoints.indexOf(kept.at(-1) as Checkpoint) + 2))
  const last = await box.checkpoint()
  await box.rollback(last)
  await ledger.tell()
  await box.kill({ checkpoints: true })
})

it('what has not changed is not copied again when the checkpoint before is gone', async () => {
  const box = await Sandbox.create({ client: the.client })
  const ledger = await Ledger.start(box, 0)
  const first = await box.checkpoint()
  const small = first.memoryBytes / 2
  for (let round = 1; round <= 9; round++) {
    if (round % 3 === 0) await box.rollback(first)
    const told = await ledger.add()
    const second = await box.checkpoint()
    await ledger.add()
    expect(second.memoryBytes).toBeLessThan(small)
    await second.delete()
    const third = await box.checkpoint()
    expect(third.memoryBytes).toBeLessThan(small)
    await ledger.add()
    await box.rollback(third)
    expect(await ledger.tell()).toBe(`${Number(told) + 1}`)
    await third.delete()
    const [kid] = await box.fork(1)
    if (!kid) throw new Error('no kid')
    expect(await (await ledger.in(kid)).add()).toBe(`${Number(told) + 2}`)
    await kid.kill()
  }
  await box.rollback(first)
  expect(await ledger.tell()).toBe('0')
  await box.kill({ checkpoints: true })
})

it('what has come from a state that goes has its pages, and is told of alone', async () => {
  const box = await Sandbox.create({ client: the.client })
  const ledger = await Ledger.start(box)
  const take = async (): Promise<string> => {
    await ledger.add()
    return (await box.checkpoint()).id
  }
  const first = await take()
  const second = await take()
  const third = await take()
  await box.rollback(first)
  const other = await take()
  await the.daemon.kill()
  const { engine, hello } = await connectEngine(the.daemon.runBase)
  const before = new Map(hello.images.map(({ image, bytes }) => [image, bytes]))
  expect([...before.keys()].sort()).toEqual([first, second, third, other].sort())
  const drop = async (image: string): Promise<Map<string, number>> => {
    const { images } = await engine.request('image.drop', { image })
    return new Map(images.map((one) => [one.image, one.bytes]))
  }
  const without = await drop(second)
  expect([...without.keys()]).toEqual([third])
  expect(without.get(third)).toBeGreaterThanOrEqual(before.get(third) ?? Number.POSITIVE_INFINITY)
  const last = await drop(first)
  expect([...last.keys()].sort()).toEqual([third, other].sort())
  for (const id of [third, other]) expect(last.get(id)).toBeGreaterThan(4 * (before.get(id) ?? 0))
  engine.close()
  const again = await connectEngine(the.daemon.runBase)
  expect(new Map(again.hello.images.map(({ image, bytes }) => [image, bytes]))).toEqual(last)
  again.engine.close()
  await the.daemon.start()
  await (await Sandbox.connect(box.id, { client: the.client })).kill({ checkpoints: true })
})
