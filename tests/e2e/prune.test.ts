/** What no rule keeps goes, from the disk too; what is kept can be gone back to exactly as it was. */
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { type Checkpoint, type CommandHandle, Sandbox } from 'deltabox'
import { describe, expect, it } from 'vitest'
import { enginesOf } from './support/engines.js'
import { sh, useBoxes } from './support/use-boxes.js'

const { create, keep, the } = useBoxes()

/** Of the families that have sandboxes: what lies in their `layers` or `images`. */
function onDisk(kind: 'layers' | 'images'): string[] {
  return the.daemon
    .engines()
    .map((family) => path.join(the.daemon.dataDir, 'families', family, kind))
    .filter(existsSync)
    .flatMap((directory) => readdirSync(directory))
    .sort()
}

/** Counts the lines it is given, and holds more memory for each. */
const COUNTER = `
import sys
n, held = 0, []
for line in sys.stdin:
    n += 1
    held.append(bytes([n]) * 300000)
    print(n, sum(len(piece) for piece in held if len(set(piece)) == 1), flush=True)
`

class Counter {
  readonly #handle: CommandHandle
  readonly #lines: AsyncIterator<unknown>

  constructor(handle: CommandHandle) {
    this.#handle = handle
    this.#lines = handle.stdout[Symbol.asyncIterator]()
  }

  static async start(box: Sandbox): Promise<Counter> {
    return new Counter(await box.commands.start(['python3', '-c', COUNTER], { stdin: true }))
  }

  async in(box: Sandbox): Promise<Counter> {
    return new Counter(await box.commands.connect(this.#handle.process))
  }

  async count(): Promise<string> {
    await this.#handle.sendStdin('\n')
    return String((await this.#lines.next()).value).trim()
  }
}

const line = (n: number): string => `${n} ${n * 300_000}`

/** Checkpoint `i` has files of `i` and a process that has counted to `i + 1`. */
async function history(box: Sandbox, counter: Counter, count: number): Promise<Checkpoint[]> {
  const taken: Checkpoint[] = []
  for (let i = 0; i < count; i++) {
    await sh(box, `echo ${i} > /srv/now; head -c 100000 /dev/zero > /srv/f${i}; rm -f /srv/f${i - 2}`)
    expect(await counter.count()).toBe(line(i + 1))
    taken.push(await box.checkpoint())
  }
  for (const { id } of taken) {
    const state = async (): Promise<string> => (await Sandbox.getCheckpoint(id, { client: the.client })).state
    await expect.poll(state, { timeout: 30_000 }).toBe('durable')
  }
  return taken
}

async function expectState(box: Sandbox, counter: Counter, i: number): Promise<void> {
  const files = i === 0 ? 'f0\n' : `f${i - 1}\nf${i}\n`
  expect(await sh(box, 'cd /srv; ls; cat now')).toBe(`${files}now\n${i}\n`)
  expect(await counter.count()).toBe(line(i + 2))
}

describe('pruning', () => {
  it('leaves what is kept exactly as it was, and takes the rest from the disk', async () => {
    const box = await create()
    const counter = await Counter.start(box)
    const taken = await history(box, counter, 8)
    const [second, fifth, last] = [taken[1], taken[4], taken[7]] as [Checkpoint, Checkpoint, Checkpoint]
    const kept = [second, fifth, last]
    const gone = taken.filter((one) => !kept.includes(one)).map(({ id }) => id)
    const before = onDisk('images')
    const rules = { keep: [second, fifth.id], keepLast: 1 }

    const told = await box.prune({ ...rules, dryRun: true })
    expect(told).toMatchObject({ removed: gone, kept: 3 })
    expect(told.freedBytes.memory).toBeGreaterThan(0)
    expect(onDisk('images')).toEqual(before)
    expect(await box.prune(rules)).toMatchObject({ removed: gone, kept: 3 })
    expect((await box.checkpoints()).map(({ id }) => id)).toEqual(kept.map(({ id }) => id))
    for (const id of gone) {
      await expect(Sandbox.getCheckpoint(id, { client: the.client })).rejects.toMatchObject({
        code: 'checkpoint_not_found',
      })
      await expect(box.rollback(id)).rejects.toMatchObject({ code: 'checkpoint_not_found' })
    }
    for (const [at, i] of [
      [fifth, 4],
      [second, 1],
      [last, 7],
    ] as const) {
      await box.rollback(at)
      await expectState(box, counter, i)
    }

    // What needed most of it goes as well.
    await box.rollback(second)
    const layers = onDisk('layers')
    const { removed, freedBytes } = await box.prune({ keepLast: 0 })
    expect(removed).toEqual([fifth.id, last.id])
    expect(freedBytes.files).toBeGreaterThanOrEqual(300_000)
    expect(freedBytes.disk).toBeGreaterThan(0)
    // Those below the position, and its head.
    await expect.poll(() => onDisk('layers').length).toBe(3)
    expect(layers.length).toBeGreaterThan(3)
    const ofRest = new Set([...taken.slice(0, 2)].map(({ id }) => id))
    await expect
      .poll(() => onDisk('images').filter((name) => !ofRest.has(name.replace('.json', ''))))
      .toEqual([])
    await box.rollback(second)
    await expectState(box, counter, 1)
  })

  it('holds for the next daemon, which brings what is kept back from the disk', async () => {
    const box = await create()
    const counter = await Counter.start(box)
    const taken = await history(box, counter, 6)
    const kept = taken[3] as Checkpoint
    await box.rollback(kept)
    expect((await box.prune({ keepLast: 0 })).removed).toHaveLength(5)
    await the.daemon.kill()
    for (const pid of enginesOf(the.daemon).values()) process.kill(pid, 'SIGKILL')
    await the.daemon.start()
    expect((await box.checkpoints()).map(({ id }) => id)).toEqual([kept.id])
    expect(await box.rollback(kept)).toMatchObject({ source: 'image', processes: 1, lost: 0 })
    await expectState(box, await counter.in(box), 3)
  })
})

describe('retention', () => {
  it('is applied after each checkpoint, by the next daemon too, and not to forks', async () => {
    const box = await create()
    await box.setRetention({ keepLast: 2 })
    expect(box.info.retention).toEqual({ keepLast: 2 })
    const labelled = await box.checkpoint('first')
    const taken: string[] = []
    for (let i = 0; i < 5; i++) {
      await sh(box, `echo ${i} > /srv/f`)
      taken.push((await box.checkpoint()).id)
    }
    const listed = async (): Promise<string[]> => (await box.checkpoints()).map(({ id }) => id)
    await expect.poll(listed).toEqual([labelled.id, ...taken.slice(-2)])
    const [kid] = await box.fork()
    keep([kid as Sandbox])
    expect(kid?.info).not.toHaveProperty('retention')

    await the.daemon.kill()
    await the.daemon.start()
    expect((await Sandbox.connect(box.id, { client: the.client })).info.retention).toEqual({ keepLast: 2 })
    await sh(box, 'echo more > /srv/f')
    const more = await box.checkpoint()
    await expect.poll(listed).toEqual([labelled.id, taken[4], more.id])
    await box.setRetention(null)
    expect((await Sandbox.connect(box.id, { client: the.client })).info).not.toHaveProperty('retention')
    expect((await the.daemon.get(`/v1/sandboxes/${box.id}/retention`)).json).toEqual({ retention: null })
  })

  it('refuses what is no rule', async () => {
    const box = await create()
    for (const body of [{}, { keepLast: -1 }, { keepLast: 1, dryRun: true }, { keep: 'cp-a' }, 5]) {
      const reply = await the.daemon.call('PUT', `/v1/sandboxes/${box.id}/retention`, body as object)
      expect([reply.status, reply.json.error.code]).toEqual([400, 'invalid_request'])
    }
    for (const body of [{}, null, { keepLabelled: false }, { keepLast: 1, others: true }]) {
      const reply = await the.daemon.call('POST', `/v1/sandboxes/${box.id}/prune`, body as object)
      expect([reply.status, reply.json.error.code]).toEqual([400, 'invalid_request'])
    }
  })
})
