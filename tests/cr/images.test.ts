/** Processes that come back from disk: what is not used is put out of memory here as soon as it may be. */

import { readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { linesOf } from '@deltabox/bench/inside'
import { type Checkpoint, Sandbox } from 'deltabox'
import { describe, expect, it } from 'vitest'
import { enginesOf } from '../e2e/support/engines.js'
import { flipByte } from '../e2e/support/flip-byte.js'
import { seenEvents } from '../e2e/support/seen-events.js'
import { useDaemon } from '../e2e/support/use-daemon.js'
import { Family } from './support/family.js'
import { Victim } from './support/victim.js'

const the = useDaemon({ DELTABOX_POOL_BYTES: '0' })

const victims = readdirSync(new URL('victims/', import.meta.url)).sort()

const create = (): Promise<Sandbox> => Sandbox.create({ client: the.client })
const look = ({ id }: { id: string }): Promise<Checkpoint> =>
  Sandbox.getCheckpoint(id, { client: the.client })

async function untilDurable(...checkpoints: Checkpoint[]): Promise<void> {
  for (const checkpoint of checkpoints) {
    await expect.poll(async () => (await look(checkpoint)).state).toBe('durable')
  }
}

/** Where a sandbox stands stays in memory. */
async function untilOut(checkpoint: Checkpoint): Promise<void> {
  await expect.poll(async () => (await look(checkpoint)).inMemory).toBe(false)
}

function imageFile(checkpoint: { id: string }): string {
  const families = path.join(the.daemon.dataDir, 'families')
  const found = readdirSync(families)
    .map((family) => path.join(families, family, 'images', checkpoint.id))
    .find((file) => statSync(file, { throwIfNoEntry: false }))
  if (found === undefined) throw new Error(`${checkpoint.id} has no file`)
  return found
}

async function killEngines(box: Sandbox): Promise<void> {
  for (const engine of enginesOf(the.daemon).values()) process.kill(engine, 'SIGKILL')
  const stateOf = async (): Promise<string> =>
    (await Sandbox.connect(box.id, { client: the.client })).info.state
  await expect.poll(stateOf, { interval: 1 }).toBe('dead')
}

describe.each(victims)('%s', (file) => {
  it('is as it was when it comes from disk', async () => {
    const box = await create()
    const victim = await Victim.start(box, file)
    const first = await box.checkpoint()
    await box.commands.start(['sleep', '1000'])
    const second = await box.checkpoint()
    for (let round = 0; round < 2; round++) {
      await victim.change()
      await untilDurable(first, second)
      await untilOut(first)
      expect((await box.rollback(first)).source).toBe('image')
      await victim.verify()
      await victim.change()
      await untilOut(second)
      expect((await box.rollback(second)).source).toBe('image')
      // A message without a byte that has waited through two checkpoints is lost.
      if (file !== 'udp.py') await victim.verify()
    }
    await untilOut(first)
    const kids = await first.fork(2)
    for (const kid of kids) await (await victim.in(kid)).verify()
    for (const one of [...kids, box]) await one.kill({ checkpoints: true })
  })
})

describe('an engine that is killed', () => {
  it.each(['memory.py', 'threads.py', 'tree.py', 'unix_peers.py', 'segments.c'])(
    'brings %s back',
    async (file) => {
      const box = await create()
      const victim = await Victim.start(box, file)
      const checkpoint = await box.checkpoint()
      await untilDurable(checkpoint)
      await victim.change()
      await killEngines(box)
      expect(await look(checkpoint)).toMatchObject({ state: 'durable', inMemory: false, lost: 0 })
      expect(await box.rollback(checkpoint)).toMatchObject({ source: 'image', lost: 0 })
      await (await victim.in(box)).verify()
      await box.kill({ checkpoints: true })
    },
  )

  it('takes what was not to be on disk along', async () => {
    const box = await create()
    await Victim.start(box, 'pipes.py')
    const checkpoint = await box.checkpoint({ disk: false })
    expect(await look(checkpoint)).toMatchObject({ inMemory: true, imageBytes: null })
    await killEngines(box)
    expect(await look(checkpoint)).toMatchObject({
      state: 'failed',
      lost: 1,
      reason: expect.stringContaining('engine'),
    })
    expect(await box.rollback(checkpoint)).toMatchObject({ processes: 0, lost: 1 })
    await box.kill({ checkpoints: true })
  })

  it('is followed by another at once, however much it leaves behind', async () => {
    const box = await create()
    const empty = await box.checkpoint()
    const victims = [await Victim.start(box, 'memory.py'), await Victim.start(box, 'tree.py')]
    const checkpoint = await box.checkpoint()
    await untilDurable(checkpoint)
    for (let round = 0; round < 5; round++) {
      await killEngines(box)
      await box.rollback(empty)
      expect(await box.rollback(checkpoint)).toMatchObject({ source: 'image', lost: 0 })
      for (const victim of victims) await (await victim.in(box)).verify()
    }
    await box.kill({ checkpoints: true })
  })
})

describe('a daemon and engines that are killed', () => {
  it('leave what was durable', async () => {
    const box = await create()
    const victim = await Victim.start(box, 'memory.py')
    const checkpoint = await box.checkpoint()
    await untilDurable(checkpoint)
    const engines = [...enginesOf(the.daemon).values()]
    await the.daemon.kill()
    for (const engine of engines) process.kill(engine, 'SIGKILL')
    await the.daemon.start()
    expect(await look(checkpoint)).toMatchObject({ state: 'durable', lost: 0 })
    expect(await box.rollback(checkpoint)).toMatchObject({ source: 'image', lost: 0 })
    await (await victim.in(box)).verify()
    await box.kill({ checkpoints: true })
  })
})

describe('templates that are killed', () => {
  async function scene(): Promise<{ box: Sandbox; victim: Victim; checkpoint: Checkpoint }> {
    const box = await create()
    const victim = await Victim.start(box, 'memory.py')
    const checkpoint = await box.checkpoint()
    await untilDurable(checkpoint)
    await victim.change()
    return { box, victim, checkpoint }
  }

  async function killTemplates(box: Sandbox): Promise<void> {
    const family = new Family(the.daemon, box.id)
    for (const { pid } of family.templates()) process.kill(pid, 'SIGKILL')
    await expect.poll(() => family.templates()).toEqual([])
  }

  it('are made again from disk', async () => {
    const { box, victim, checkpoint } = await scene()
    await killTemplates(box)
    expect(await box.rollback(checkpoint)).toMatchObject({ source: 'image', lost: 0 })
    await victim.verify()
    await box.kill({ checkpoints: true })
  })

  it.each([
    ['one', { count: 1 }],
    ['several', { count: 4 }],
    ['as many as can be made', { count: 4, partial: true }],
  ])('are made again from disk for forks: %s', async (_, options) => {
    const { box, victim, checkpoint } = await scene()
    await killTemplates(box)
    const kids = (await checkpoint.fork(options)) as Sandbox[]
    expect(kids.length).toBe(options.count)
    for (const kid of kids) await (await victim.in(kid)).verify()
    for (const one of [...kids, box]) await one.kill({ checkpoints: true })
  })

  it('are made again once for all that want them at a time', async () => {
    const { box, victim, checkpoint } = await scene()
    await killTemplates(box)
    const [left, right] = await Promise.all([
      checkpoint.fork(4),
      checkpoint.fork(4),
      box.rollback(checkpoint),
    ])
    for (const kid of [...left, ...right]) await (await victim.in(kid)).verify()
    await victim.verify()
    const reads = the.daemon
      .logText()
      .match(new RegExp(`"image":"${checkpoint.id}"[^\n]*brought into memory`, 'g'))
    expect(reads?.length).toBe(1)
    for (const one of [...left, ...right, box]) await one.kill({ checkpoints: true })
  })

  it('are not needed for the next checkpoint, nor to fork what goes on from there', async () => {
    const { box, victim, checkpoint } = await scene()
    await box.rollback(checkpoint)
    await victim.verify()
    await box.files.write('/root/more', 'than before')
    await killTemplates(box)
    const [kid] = await box.fork(1)
    await (await victim.in(kid as Sandbox)).verify()
    await killTemplates(box)
    const next = await box.checkpoint()
    await untilDurable(next)
    await victim.change()
    expect(await box.rollback(next)).toMatchObject({ lost: 0 })
    await victim.verify()
    for (const one of [kid as Sandbox, box]) await one.kill({ checkpoints: true })
  })

  it.each([false, true])('and cannot be made again leave nothing of forks: partial %s', async (partial) => {
    const { box, victim, checkpoint } = await scene()
    const file = imageFile(checkpoint)
    const half = Math.floor(statSync(file).size / 3)
    flipByte(file, half)
    await killTemplates(box)
    const list = (): Promise<unknown> => Sandbox.list({ client: the.client })
    const before = await list()
    const made = await checkpoint.fork({ count: 4, partial }).catch((error: unknown) => error)
    const damaged = expect.objectContaining({ code: 'image_damaged' })
    if (partial) expect(made).toEqual([damaged, damaged, damaged, damaged])
    else expect(made).toMatchObject({ code: 'fork_failed', details: { code: 'image_damaged', failed: 4 } })
    const sandboxes = path.join(path.dirname(file), '../sandboxes')
    expect(readdirSync(sandboxes)).toEqual([box.id])
    expect(await list()).toEqual(before)
    flipByte(file, half)
    const [kid] = await checkpoint.fork(1)
    await (await victim.in(kid as Sandbox)).verify()
    for (const one of [kid as Sandbox, box]) await one.kill({ checkpoints: true })
  })
})

describe('an image on disk', () => {
  it('has what has changed, whatever there is', async () => {
    const box = await create()
    const program =
      'import sys\nbig = bytearray(32 << 20)\nfor i in range(0, len(big), 4096): big[i:i+8] = i.to_bytes(8, "little")\n' +
      'for line in sys.stdin:\n    at = int(line)\n    for i in range(256): big[at + i * 4096:at + i * 4096 + 8] = (at + i + 1).to_bytes(8, "big")\n    print("done", flush=True)\n'
    const worker = await box.commands.start(['python3', '-u', '-c', program], { stdin: true })
    await worker.sendStdin('0\n')
    const lines = linesOf(worker)
    await lines.next()
    const first = await box.checkpoint()
    const later: Checkpoint[] = []
    for (let round = 1; round <= 20; round++) {
      await worker.sendStdin(`${round << 20}\n`)
      await lines.next()
      later.push(await box.checkpoint())
    }
    await untilDurable(first, ...later)
    expect((await look(first)).imageBytes).toBeGreaterThan(32 << 20)
    const sizes = await Promise.all(later.map(async (one) => (await look(one)).imageBytes ?? 0))
    // 256 pages and those that a Python program writes to anyway.
    for (const size of sizes) expect(size).toBeLessThan(1.5 * (1 << 20))
    await box.kill({ checkpoints: true })
  })

  it.each([
    ['its pages', (size: number) => Math.floor(size / 3)],
    ['its end', (size: number) => size - 20],
  ])('that is damaged in %s is noticed and named, and others are as they were', async (_what, place) => {
    const box = await create()
    const victim = await Victim.start(box, 'memory.py')
    const first = await box.checkpoint()
    const other = await create()
    const otherVictim = await Victim.start(other, 'pipes.py')
    const otherFirst = await other.checkpoint()
    await victim.change()
    await box.checkpoint()
    await otherVictim.change()
    await other.checkpoint()
    await untilDurable(first, otherFirst)
    await untilOut(first)
    await untilOut(otherFirst)
    const file = imageFile(first)
    const before = readFileSync(file)
    flipByte(file, place(before.length))
    await expect(box.rollback(first)).rejects.toMatchObject({
      code: 'image_damaged',
      message: expect.stringContaining(first.id),
    })
    expect((await other.rollback(otherFirst)).source).toBe('image')
    await otherVictim.verify()
    flipByte(file, place(before.length))
    expect((await box.rollback(first)).source).toBe('image')
    await victim.verify()
    for (const one of [box, other]) await one.kill({ checkpoints: true })
  })

  it('goes with its checkpoint, unless another one needs it', async () => {
    const box = await create()
    const victim = await Victim.start(box, 'pipes.py')
    const first = await box.checkpoint()
    await victim.change()
    const second = await box.checkpoint()
    await untilDurable(first, second)
    const files = [imageFile(first), imageFile(second)] as const
    await first.delete()
    await victim.verify().catch(() => undefined)
    expect(statSync(files[0]).isFile()).toBe(true)
    const kids = await second.fork(1)
    await box.kill({ checkpoints: true })
    for (const kid of kids) await kid.kill({ checkpoints: true })
    await second.delete()
    for (const file of files) {
      await expect.poll(() => statSync(file, { throwIfNoEntry: false })).toBe(undefined)
    }
  })
})

describe('a checkpoint', () => {
  it('that is asked for ahead is in memory', async () => {
    const box = await create()
    const victim = await Victim.start(box, 'memory.py')
    const first = await box.checkpoint()
    await victim.change()
    const second = await box.checkpoint()
    await untilDurable(first, second)
    await untilOut(first)
    expect(await first.prefetch()).toMatchObject({ checkpoint: first.id, source: 'image' })
    expect(await second.prefetch()).toMatchObject({ source: 'template' })
    await box.rollback(first)
    await victim.verify()
    await box.kill({ checkpoints: true })
  })

  it('tells of its way to the disk', async () => {
    const stream = await the.daemon.open('GET', '/v1/events')
    const seen = seenEvents(stream)
    const box = await create()
    await Victim.start(box, 'pipes.py')
    const { id } = await box.checkpoint()
    const told = (): string[] => seen.filter((event) => event.checkpoint === id).map(({ type }) => type)
    await expect.poll(told).toEqual(['checkpoint.created', 'checkpoint.ready', 'checkpoint.durable'])
    stream.destroy()
    await box.kill({ checkpoints: true })
  })

  it('of a sandbox in which nothing has happened costs a record', async () => {
    const box = await create()
    const victim = await Victim.start(box, 'memory.py')
    const first = await box.checkpoint()
    const records: Checkpoint[] = []
    for (let i = 0; i < 5; i++) records.push(await box.checkpoint())
    for (const record of records)
      expect(record).toMatchObject({ unchanged: true, fileBytes: 0, depth: first.depth })
    await untilDurable(first, ...records)
    await victim.change()
    expect(await box.checkpoint()).toMatchObject({ unchanged: false })
    await box.rollback(records[4] as Checkpoint)
    // A process that was just let go may not be waiting again yet.
    await expect.poll(async () => (await box.checkpoint()).unchanged).toBe(true)
    await victim.verify()
    await box.kill({ checkpoints: true })
  })
})
