import { existsSync } from 'node:fs'
import type { DaemonEvent, PruneCheckpoints, Pruned, RetentionRules } from '@deltabox/protocol'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { checkpointSandbox } from '../src/state/checkpoint.js'
import { getCheckpoint, listCheckpoints, relabelCheckpoint } from '../src/state/checkpoints.js'
import { destroySandbox } from '../src/state/destroy.js'
import { forkCheckpoint, forkSandbox } from '../src/state/fork.js'
import { pruneCheckpoints } from '../src/state/prune.js'
import { getRetention, setRetention } from '../src/state/retention.js'
import { rollbackSandbox } from '../src/state/rollback.js'
import { getSandbox } from '../src/state/sandboxes.js'
import { type FakeState, fakeState } from './support/fake-engine.js'
import { checkpointAt, FAMILY } from './support/temporary-store.js'

let the: FakeState
let box: string

beforeEach(async () => {
  the = await fakeState({ mergeDepth: 5000 })
  box = the.sandbox('sb-a')
})
afterEach(() => the.close())

const prune = (rules: PruneCheckpoints, of = box): Promise<Pruned> => pruneCheckpoints(the.state, of, rules)
const take = async (of = box, label?: string): Promise<string> =>
  (await checkpointSandbox(the.state, of, label === undefined ? {} : { label })).id
const listed = (of = box): string[] => listCheckpoints(the.state, of).checkpoints.map(({ id }) => id)
const all = (): string[] => the.store.checkpoints.ofFamily(FAMILY).map(({ id }) => id)
const chain = (id: string): string[] =>
  the.store.layers.chain(the.store.checkpoints.get(id)?.layer ?? null).map((layer) => layer.id)

async function takeMany(count: number, of = box): Promise<string[]> {
  const ids: string[] = []
  for (let i = 0; i < count; i++) ids.push(await take(of))
  return ids
}

async function fork(from: string, count = 1): Promise<string[]> {
  const make = from.startsWith('cp-') ? forkCheckpoint : forkSandbox
  const { sandboxes } = await make(the.state, from, { count })
  return sandboxes.map((one) => ('id' in one ? one.id : ''))
}

/** A checkpoint taken so long ago. */
function old(id: string, ms: number, rest: object = {}): string {
  the.store.checkpoints.insert({ ...checkpointAt(id, null), createdAt: Date.now() - ms, ...rest })
  return id
}

describe('a rule', () => {
  it('keepLast keeps the latest, and 0 of them none but the position', async () => {
    const ids = await takeMany(5)
    expect(await prune({ keepLast: 2 })).toMatchObject({ removed: ids.slice(0, 3), kept: 2 })
    expect(listed()).toEqual(ids.slice(3))
    expect(await prune({ keepLast: 0 })).toMatchObject({ removed: [ids[3]], kept: 1 })
    expect(listed()).toEqual([ids[4]])
  })

  it('keepLabelled keeps those with a label, unless it is taken back', async () => {
    const first = await take(box, 'first')
    const [second = '', third = ''] = await takeMany(2)
    expect(await prune({ keepLast: 1 })).toMatchObject({ removed: [second], kept: 2 })
    expect(await prune({ keepLast: 1, keepLabelled: false })).toMatchObject({ removed: [first], kept: 1 })
    expect(listed()).toEqual([third])
  })

  it('keepNewerThanMs keeps what is younger', async () => {
    const [older, younger] = [old('cp-older', 10_000), old('cp-younger', 1000)]
    expect(await prune({ keepNewerThanMs: 20_000 })).toMatchObject({ removed: [] })
    expect(await prune({ keepNewerThanMs: 5000 })).toMatchObject({ removed: [older], kept: 1 })
    expect(await prune({ keepNewerThanMs: 0 })).toMatchObject({ removed: [younger], kept: 0 })
  })

  it('keep keeps those that are named, also by the beginning of an id', async () => {
    const ids = await takeMany(5)
    expect(await prune({ keep: [ids[1] ?? '', (ids[3] ?? '').slice(0, 11)] })).toMatchObject({
      removed: [ids[0], ids[2]],
      kept: 3,
    })
    expect(listed()).toEqual([ids[1], ids[3], ids[4]])
  })

  it('adds to the others', async () => {
    const labelled = old('cp-labelled', 9000, { label: 'one' })
    const named = old('cp-named', 8000)
    const neither = old('cp-neither', 7000)
    const young = old('cp-young', 100)
    const last = old('cp-last', 6000)
    expect(await prune({ keep: [named], keepNewerThanMs: 1000, keepLast: 1 })).toMatchObject({
      removed: [neither],
      kept: 4,
    })
    expect(listed()).toEqual([labelled, named, young, last])
  })

  it('is wanted: nothing goes without one', async () => {
    const ids = await takeMany(3)
    for (const none of [{}, { keepLabelled: false }, { keepLabelled: true, family: true }]) {
      await expect(prune(none)).rejects.toMatchObject({
        code: 'invalid_request',
        message:
          'cannot prune checkpoints of sandbox sb-a: no rule tells what to keep; it takes keepLast, keepNewerThanMs or keep',
      })
    }
    await expect(prune({ keep: ['cp-mistyped'] })).rejects.toMatchObject({ code: 'checkpoint_not_found' })
    expect(listed()).toEqual(ids)
  })
})

describe('what is pruned', () => {
  it('are those taken of the sandbox, or of its whole family', async () => {
    const mine = await takeMany(2)
    const [kid = ''] = await fork(mine[1] ?? '')
    const its = await takeMany(2, kid)
    expect(await prune({ keepLast: 0 })).toMatchObject({ removed: [mine[0]], kept: 1 })
    expect(listed(kid)).toEqual(its)
    expect(await prune({ keepLast: 0, family: true }, kid)).toMatchObject({ removed: [its[0]], kept: 2 })
    expect(all()).toEqual([mine[1], its[1]])
  })

  it('is never what a sandbox stands on, alive or dead', async () => {
    const ids = await takeMany(4)
    const [kid = ''] = await fork(ids[1] ?? '')
    await rollbackSandbox(the.state, box, { checkpoint: ids[0] ?? '' })
    the.store.sandboxes.setState(kid, 'dead', 'killed')
    expect(await prune({ keep: [] })).toMatchObject({ removed: [ids[2], ids[3]], kept: 2 })
    expect(listed()).toEqual([ids[0], ids[1]])
  })

  it('is never what a sandbox is being brought back to', async () => {
    const [first = '', second = '', third = ''] = await takeMany(3)
    let release = (): void => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    the.engine.answer('sandbox.rollback', async ({ sandbox, head, layers }) => {
      await held
      the.engine.mount(sandbox, [head, ...layers])
      return { initPid: 1, stopped: 0, revived: 0, processes: [], timings: {} }
    })
    const going = rollbackSandbox(the.state, box, { checkpoint: first })
    const asked = (): string[] => the.engine.requests.map(({ operation }) => operation)
    await expect.poll(asked).toContain('sandbox.rollback')
    expect(await prune({ keepLast: 0 })).toMatchObject({ removed: [second], kept: 2 })
    release()
    await going
    expect(getSandbox(the.state, box).checkpoint).toBe(first)
    expect(await prune({ keepLast: 0 })).toMatchObject({ removed: [third], kept: 1 })
  })

  it('goes with what only forks needed', async () => {
    await take()
    const [kid = ''] = await fork(box)
    const forked = getSandbox(the.state, kid).checkpoint as string
    await take()
    const [first = '', second = ''] = await takeMany(2, kid)
    expect(await prune({ keepLast: 0 }, kid)).toMatchObject({ removed: [first], kept: 1 })
    expect(all()).toContain(forked)
    await destroySandbox(the.state, kid)
    // Nobody stands on it, and what it was taken for is gone.
    const { removed, kept } = await prune({ keep: [], family: true })
    expect(removed).toEqual([expect.any(String), forked, second])
    expect([kept, all()]).toEqual([1, listed()])
  })
})

describe('pruning', () => {
  it('leaves what is kept on the same layers, under the parent of what went', async () => {
    const ids = await takeMany(6)
    const kept = [ids[2] ?? '', ids[5] ?? '']
    const before = kept.map(chain)
    expect(before.map(({ length }) => length)).toEqual([3, 6])
    await prune({ keep: kept })
    expect(kept.map(chain)).toEqual(before)
    expect(kept.map((id) => getCheckpoint(the.state, id).parent)).toEqual([null, kept[0]])
    expect(await rollbackSandbox(the.state, box, { checkpoint: kept[0] ?? '' })).toMatchObject({ lost: 0 })
    expect(the.engine.mounted.get(box)?.slice(1)).toEqual(
      before[0]?.map((id) => the.layers.directory({ family: FAMILY, id })),
    )
  })

  it('takes layers that nothing stands on away, and counts them', async () => {
    const ids = await takeMany(4)
    await rollbackSandbox(the.state, box, { checkpoint: ids[1] ?? '' })
    const lost = chain(ids[3] ?? '').slice(0, 2)
    for (const [at, id] of lost.entries()) the.store.layers.setSize(id, 1000 * (at + 1), 1)
    the.store.layers.setSize(chain(ids[0] ?? '')[0] ?? '', 500, 1)
    const { removed, freedBytes } = await prune({ keepLast: 0 })
    expect(removed).toEqual([ids[0], ids[2], ids[3]])
    // What lies below the position is still needed.
    expect(freedBytes.files).toBe(3000)
    const directories = lost.map((id) => the.layers.directory({ family: FAMILY, id }))
    await expect.poll(() => directories.some(existsSync)).toBe(false)
    expect(chain(ids[1] ?? '')).toHaveLength(2)
  })

  it('tells of each in an event', async () => {
    const ids = await takeMany(3)
    const events: DaemonEvent[] = []
    the.state.events.subscribe((event) => events.push(event))
    await prune({ keepLast: 1 })
    expect(events).toMatchObject([
      { type: 'checkpoint.removed', sandbox: box, checkpoint: ids[1] },
      { type: 'checkpoint.removed', sandbox: box, checkpoint: ids[0] },
    ])
  })

  it('that is only tried tells the same and changes nothing', async () => {
    const ids = await takeMany(70)
    await rollbackSandbox(the.state, box, { checkpoint: ids[9] ?? '' })
    const [kid = ''] = await fork(box)
    await destroySandbox(the.state, kid)
    for (const id of ids) the.store.layers.setSize(chain(id)[0] ?? '', 10, 1)
    const events: DaemonEvent[] = []
    the.state.events.subscribe((event) => events.push(event))
    const rules = { keepLast: 3, keep: [ids[20] ?? ''] }
    const layers = (): unknown => the.store.layers.ofFamily(FAMILY)
    const before = [the.store.checkpoints.ofFamily(FAMILY), the.store.images.all(), layers()]
    const told = await prune({ ...rules, dryRun: true })
    expect([the.store.checkpoints.ofFamily(FAMILY), the.store.images.all(), layers()]).toEqual(before)
    expect(events).toEqual([])
    expect(told.removed).toHaveLength(66)
    expect(await prune(rules)).toEqual(told)
    expect(events).toHaveLength(66)
  })

  it('spares what got a label between two batches', async () => {
    const ids = await takeMany(120)
    const going = prune({ keepLast: 1 })
    relabelCheckpoint(the.state, ids[0] ?? '', { label: 'wanted' })
    expect((await going).removed).toEqual(ids.slice(1, -1))
    expect(listed()).toEqual([ids[0], ids.at(-1)])
  })
})

describe('images', () => {
  /** One of a checkpoint, in memory and on disk, with pages in the files of others. */
  function image(
    id: string,
    needs: string[],
    bytes: { memory: number; disk: number },
    rest: object = {},
  ): string {
    const { images } = the.store
    old(id, 1000, { image: id, processes: 1, ...rest })
    images.insert({ id, family: FAMILY, toDisk: true, memoryBytes: bytes.memory })
    images.setState(id, 'ready')
    images.setOnDisk(id, bytes.disk, needs)
    return id
  }

  it('go out of memory, and from disk where no other has pages in them', async () => {
    image('cp-a', [], { memory: 1, disk: 10 })
    image('cp-b', ['cp-a'], { memory: 2, disk: 20 })
    image('cp-c', ['cp-b', 'cp-a'], { memory: 4, disk: 40 })
    image('cp-d', ['cp-a'], { memory: 8, disk: 80 })
    expect(await prune({ keep: ['cp-c'] })).toMatchObject({
      removed: ['cp-a', 'cp-b', 'cp-d'],
      freedBytes: { files: 0, memory: 11, disk: 80 },
    })
    const left = (): [string, boolean][] => the.store.images.all().map(({ id, inMemory }) => [id, inMemory])
    await expect.poll(left).toEqual([
      ['cp-a', false],
      ['cp-b', false],
      ['cp-c', true],
    ])
    // With the last that needed them all go.
    expect(await prune({ keep: [] })).toMatchObject({ freedBytes: { memory: 4, disk: 70 } })
    await expect.poll(left).toEqual([])
  })

  it('that several checkpoints have go with the last', async () => {
    image('cp-a', [], { memory: 1, disk: 10 })
    old('cp-b', 500, { image: 'cp-a', unchanged: true })
    expect((await prune({ keepLast: 1 })).freedBytes).toEqual({ files: 0, memory: 0, disk: 0 })
    expect((await prune({ keepLast: 0 })).freedBytes).toEqual({ files: 0, memory: 1, disk: 10 })
  })

  it('stay while somebody goes back to them', async () => {
    image('cp-a', [], { memory: 1, disk: 10 })
    await the.state.pool.holding('cp-a', async () => {
      expect(await prune({ keep: [] })).toMatchObject({ removed: [], kept: 1 })
    })
    expect(await prune({ keep: [] })).toMatchObject({ removed: ['cp-a'], kept: 0 })
  })

  it('of a thousand checkpoints go without anybody waiting long', async () => {
    the.store.transaction(() => {
      let below: string | null = null
      for (let i = 0; i < 1000; i++) {
        const layer = the.layers.newHead({
          family: FAMILY,
          sandbox: box,
          target: null,
          parent: below,
        })
        below = layer.id
        the.store.layers.freeze(layer.id, { bytes: 1, files: 1 })
        image(`cp-${i}`, i === 0 ? [] : [`cp-${i - 1}`], { memory: 1, disk: 1 }, { layer: layer.id })
      }
    })
    let longest = 0
    let last = performance.now()
    const watch = setInterval(() => {
      const now = performance.now()
      longest = Math.max(longest, now - last)
      last = now
    }, 1)
    const { removed, freedBytes } = await prune({ keepLast: 1 })
    const { removed: rest, freedBytes: more } = await prune({ keepLast: 0 })
    await expect.poll(() => the.store.images.all().length, { timeout: 20_000 }).toBe(0)
    clearInterval(watch)
    expect([removed.length, rest.length]).toEqual([999, 1])
    expect(freedBytes).toEqual({ files: 0, memory: 999, disk: 0 })
    expect(more).toEqual({ files: 1000, memory: 1, disk: 1000 })
    expect(longest).toBeLessThan(500)
  })
})

describe('retention', () => {
  const set = (rules: RetentionRules | null, of = box): unknown => setRetention(the.state, of, rules)

  it('is applied when it is set, and after each checkpoint', async () => {
    const ids = await takeMany(3)
    expect(set({ keepLast: 2 })).toEqual({ retention: { keepLast: 2 } })
    await expect.poll(() => listed()).toEqual(ids.slice(1))
    const more = await takeMany(3)
    await expect.poll(() => listed()).toEqual(more.slice(1))
  })

  it('is told, belongs to one sandbox, and can be taken away', async () => {
    expect(getRetention(the.state, box)).toEqual({ retention: null })
    expect(getSandbox(the.state, box)).not.toHaveProperty('retention')
    const kept = await take()
    const rules = { keepLast: 1, keepLabelled: false, keepNewerThanMs: 0, keep: [kept] }
    set({ ...rules, keep: [kept.slice(0, 8)] })
    expect(getRetention(the.state, box)).toEqual({ retention: rules })
    expect(getSandbox(the.state, box).retention).toEqual(rules)
    const [kid = ''] = await fork(box)
    expect(getRetention(the.state, kid)).toEqual({ retention: null })
    set(null)
    const ids = await takeMany(4)
    expect(getRetention(the.state, box)).toEqual({ retention: null })
    expect(listed()).toEqual([kept, ...ids])
  })

  it('wants a rule', () => {
    expect(() => set({ keepLabelled: true })).toThrow(
      'cannot set the retention of sandbox sb-a: no rule tells what to keep',
    )
    expect(() => set({ keep: ['cp-nobody'] })).toThrow('cp-nobody')
    expect(getRetention(the.state, box)).toEqual({ retention: null })
  })

  it('is applied once a minute, as time passes', async () => {
    old('cp-aging', 0)
    set({ keepNewerThanMs: 90_000 })
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'Date'] })
    try {
      the.state.retention.start()
      vi.advanceTimersByTime(60_000)
      await new Promise(setImmediate)
      expect(listed()).toEqual(['cp-aging'])
      vi.advanceTimersByTime(60_000)
      await new Promise(setImmediate)
      expect(listed()).toEqual([])
    } finally {
      vi.useRealTimers()
    }
  })

  it('goes on at the next start, also where a kept checkpoint was deleted', async () => {
    const ids = await takeMany(3)
    the.store.sandboxes.setRetention(box, { keepLast: 1, keep: ['cp-gone'] })
    the.state.retention.start()
    await expect.poll(() => listed()).toEqual([ids[2]])
  })
})
