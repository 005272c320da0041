/**
 * The power goes at some moment: what the disk has then, as it is, is what the next daemon finds. The disk is a file that is cloned in an instant,
 * with what its file system has written to it by then and nothing of what the kernel still keeps to itself.
 */
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Checkpoint, Client, Sandbox } from 'deltabox'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { TestDaemon } from '../e2e/support/daemon.js'
import { enginesOf } from '../e2e/support/engines.js'
import { Churn } from './support/churn.js'
import { LoopDisks, run } from './support/loop-disks.js'
import { random } from './support/random.js'

const CUTS = Number(process.env.DELTABOX_TEST_CUTS ?? '4')
const SEED = Number(process.env.DELTABOX_TEST_SEED ?? Date.now() % 1_000_000)
const LONGEST_MS = 900

let daemon: TestDaemon
let after: TestDaemon | undefined
const disks = new LoopDisks()

const at = (...names: string[]): string => path.join(daemon.directory, ...names)

beforeAll(() => {
  daemon = new TestDaemon()
  disks.make(at('outer.img'), '8G', at('outer'))
  disks.make(at('outer/inner.img'), '4G', at('disk'))
  mkdirSync(at('disk/data'))
  daemon.env.DELTABOX_DATA = at('disk/data')
})

afterAll(async () => {
  for (const one of [after, daemon]) if (one) await end(one)
  disks.unmountAll()
  run('rm', '-rf', daemon.directory)
})

async function end(one: TestDaemon): Promise<void> {
  await one.kill()
  for (const engine of enginesOf(dataOf(one)).values()) process.kill(engine, 'SIGKILL')
  while (enginesOf(dataOf(one)).size > 0) await delay(5)
  if (one !== daemon) run('rm', '-rf', one.directory)
}

/** Where it is not where a test's daemon has it. */
function dataOf(one: TestDaemon): TestDaemon {
  return Object.assign(Object.create(one), { dataDir: one.env.DELTABOX_DATA })
}

interface Cut {
  readonly image: string
  /** That had been told to be durable by then, and what they were. */
  readonly durable: ReadonlyMap<string, number>
}

async function work(worker: Churn, digests: Map<string, number>, isOver: () => boolean): Promise<void> {
  for (let number = 1; !isOver(); number++) {
    await worker.step(number)
    const digest = await worker.digest()
    digests.set((await worker.box.checkpoint()).id, digest)
    if (number % 7 === 0) await removeOne(worker, digests)
  }
}

/** What is removed is not to be missed. */
async function removeOne({ box }: Churn, digests: Map<string, number>): Promise<void> {
  const [first] = await box.checkpoints()
  if (!first) return
  digests.delete(first.id)
  await first.delete()
}

async function cutAt(moment: number, name: string, box: Sandbox, digests: Map<string, number>): Promise<Cut> {
  await delay(moment)
  const told = (await box.checkpoints()).filter(({ state }) => state === 'durable')
  const image = at('outer', `${name}.img`)
  run('cp', '--reflink=always', at('outer/inner.img'), image)
  return {
    image,
    durable: new Map(
      told.flatMap(({ id }) => (digests.has(id) ? [[id, digests.get(id) ?? 0] as const] : [])),
    ),
  }
}

/** As after the host has come up again. */
async function startOn(disk: string): Promise<Client> {
  run(
    'sqlite3',
    path.join(disk, 'data/deltabox.db'),
    "UPDATE facts SET value = 'another' WHERE name = 'boot'",
  )
  after = new TestDaemon({ DELTABOX_DATA: path.join(disk, 'data') })
  await after.start()
  return new Client({ url: after.url })
}

async function verify(
  cut: Cut,
  name: string,
  process: string,
  removed: ReadonlySet<string>,
): Promise<number> {
  const disk = at(name)
  disks.mount(cut.image, disk, 'nouuid')
  const client = await startOn(disk)
  const { roots } = (await (after as TestDaemon).get('/v1/tree')).json as { roots: { children: Node[] }[] }
  const there = roots.flatMap(({ children }) => idsIn(children))
  for (const [id, digest] of cut.durable) {
    if (removed.has(id) && !there.includes(id)) continue
    const checkpoint = await Sandbox.getCheckpoint(id, { client })
    expect(checkpoint).toMatchObject({ state: 'durable', lost: 0 })
    const [kid] = await checkpoint.fork(1)
    expect(await (await Churn.in(kid as Sandbox, process)).digest(), `${name}: ${id}`).toBe(digest)
    await kid?.kill()
  }
  // Of what the disk did not have nothing is left, not even in parts.
  for (const id of there) expect((await Sandbox.getCheckpoint(id, { client })).state).toBe('durable')
  const families = path.join(disk, 'data/families')
  const images = readdirSync(families).map((family) => path.join(families, family, 'images'))
  const names = images.flatMap((directory) => (existsSync(directory) ? readdirSync(directory) : []))
  expect(names.filter((file) => file.endsWith('.part'))).toEqual([])
  await end(after as TestDaemon)
  after = undefined
  disks.unmount(disk)
  return there.length
}

interface Node {
  readonly kind: string
  readonly id: string
  readonly children?: Node[]
}

function idsIn(nodes: readonly Node[]): string[] {
  return nodes.flatMap(({ kind, id, children = [] }) => [
    ...(kind === 'checkpoint' ? [id] : []),
    ...idsIn(children),
  ])
}

it(`leaves what was durable, ${CUTS} times (seed ${SEED})`, { timeout: 1_200_000 }, async () => {
  await daemon.start()
  const client = new Client({ url: daemon.url })
  const dice = random(SEED)
  const worker = await Churn.start(client, 8)
  const digests = new Map<string, number>()
  let isOver = false
  const working = work(worker, digests, () => isOver)
  const cuts: Cut[] = []
  for (let count = 0; count < CUTS; count++) {
    const known = new Map(digests)
    cuts.push(
      await cutAt(300 + dice() * LONGEST_MS, `cut-${count}`, worker.box, known.size > 0 ? digests : known),
    )
  }
  isOver = true
  await working
  const left = new Set((await worker.box.checkpoints()).map(({ id }: Checkpoint) => id))
  const removed = new Set(cuts.flatMap(({ durable }) => [...durable.keys()]).filter((id) => !left.has(id)))
  await end(daemon)
  const found: number[] = []
  for (const [count, cut] of cuts.entries()) {
    found.push(await verify(cut, `cut-${count}`, worker.process, removed))
  }
  expect(cuts.at(-1)?.durable.size).toBeGreaterThan(0)
  console.log(
    `cuts found ${found.join(', ')} checkpoints, of which ${cuts.map(({ durable }) => durable.size).join(', ')} had been told`,
  )
})
