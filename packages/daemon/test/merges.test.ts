import { existsSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { checkpointSandbox } from '../src/state/checkpoint.js'
import { removeCheckpoint } from '../src/state/checkpoints.js'
import { destroySandbox } from '../src/state/destroy.js'
import { forkCheckpoint } from '../src/state/fork.js'
import { rollbackSandbox } from '../src/state/rollback.js'
import { type FakeState, fakeState } from './support/fake-engine.js'
import { FAMILY } from './support/temporary-store.js'

let the: FakeState

beforeEach(async () => {
  the = await fakeState({ mergeDepth: 4 })
})
afterEach(() => the.close())

const head = (id: string): string => the.store.sandboxes.get(id)?.head ?? ''
const chainOf = (id: string): string[] => the.store.layers.chain(head(id)).map((layer) => layer.id)
const depthOf = (checkpoint: string): number =>
  the.store.layers.depth(the.store.checkpoints.get(checkpoint)?.layer ?? null)
const merged = (): number =>
  the.engine.requests.filter(({ operation }) => operation === 'layers.merge').length

async function take(box: string, count: number): Promise<string[]> {
  const taken: string[] = []
  for (let i = 0; i < count; i++) {
    taken.push((await checkpointSandbox(the.state, box, {})).id)
    the.afterwards.finish()
    await the.state.merges.settled()
  }
  return taken
}

async function removed(): Promise<void> {
  the.afterwards.finish()
  while (the.store.layers.inState('doomed').length > 0) await new Promise(setImmediate)
}

/** What is mounted is there, whether chains name it or not. */
function expectMountsWhole(): void {
  for (const chain of the.engine.mounted.values()) {
    expect(chain.filter((layer) => !existsSync(layer))).toEqual([])
  }
}

describe('a deep chain', () => {
  it('is made shorter, for its sandbox and for every checkpoint that holds all of the run', async () => {
    const box = the.sandbox('sb-a')
    const taken = await take(box, 5)
    expect(merged()).toBe(1)
    // Of five layers the newest two stay; the checkpoints within the run keep theirs.
    expect(taken.map(depthOf)).toEqual([1, 2, 1, 2, 3])
    expect(chainOf(box).length).toBe(4)
    await removed()
    expectMountsWhole()
  })

  it('stays mounted as it is until the sandbox switches next, which moves it', async () => {
    const box = the.sandbox('sb-a')
    await take(box, 5)
    const old = the.engine.mounted.get(box) ?? []
    expect(old.length).toBe(6)
    expectMountsWhole()
    await take(box, 1)
    const { parameters } = the.engine.requests
      .filter(({ operation }) => operation === 'sandbox.checkpoint')
      .at(-1) as { parameters: object }
    expect(parameters).toHaveProperty('layers')
    expect(the.engine.mounted.get(box)).toEqual(
      the.store.layers.chain(head(box)).map((layer) => the.layers.directory(layer)),
    )
    await removed()
    expectMountsWhole()
    expect(the.store.layers.holders()).toEqual([])
  })

  it('takes the layers that nothing needs any more off the disk', async () => {
    const box = the.sandbox('sb-a')
    const taken = await take(box, 30)
    for (const id of taken.slice(0, -1)) await removeCheckpoint(the.state, id)
    await removed()
    expect((await the.disk.list(FAMILY)).length).toBeLessThanOrEqual(8)
    expect(depthOf(taken.at(-1) ?? '')).toBeLessThanOrEqual(4)
    expectMountsWhole()
  })

  it('is shared by forks, each of which keeps what it is mounted on', async () => {
    const box = the.sandbox('sb-a')
    const taken = await take(box, 4)
    const { sandboxes } = await forkCheckpoint(the.state, taken.at(-1) ?? '', { count: 3 })
    const kids = sandboxes.map((made) => ('id' in made ? made.id : ''))
    await take(box, 1)
    for (const id of taken) await removeCheckpoint(the.state, id)
    await removed()
    expectMountsWhole()
    expect(merged()).toBe(1)
    for (const kid of kids) {
      expect(chainOf(kid).length).toBe(3)
      expect(the.engine.mounted.get(kid)?.length).toBe(5)
    }
    const [first = '', second = '', third = ''] = kids
    await take(first, 1)
    await rollbackSandbox(the.state, second, { checkpoint: (await take(box, 1))[0] ?? '' })
    await destroySandbox(the.state, third)
    await removed()
    expectMountsWhole()
    expect(the.store.layers.holders()).toEqual([])
  })

  it('is left alone when putting it together fails, and is tried again with the next checkpoint', async () => {
    const box = the.sandbox('sb-a')
    the.engine.refuse('layers.merge', 'system')
    const taken = await take(box, 5)
    await removed()
    expect(depthOf(taken[4] ?? '')).toBe(5)
    expect((await the.disk.list(FAMILY)).length).toBe(6)
    the.engine.answer('layers.merge', () => ({ bytes: 1, files: 1 }))
    await take(box, 1)
    expect(depthOf(taken[4] ?? '')).toBeLessThanOrEqual(4)
  })

  it('that goes while it is put together leaves nothing', async () => {
    const box = the.sandbox('sb-a')
    let taken: string[] = []
    the.engine.answer('layers.merge', async ({ layers }) => {
      await destroySandbox(the.state, box, { checkpoints: true })
      await new Promise((resolve) => setTimeout(resolve, 50))
      for (const layer of layers) expect(existsSync(layer)).toBe(true)
      return { bytes: 1, files: 1 }
    })
    taken = await take(box, 5)
    expect(taken.length).toBe(5)
    await removed()
    expect(await the.disk.list(FAMILY)).toEqual([])
    expect(the.store.layers.holders()).toEqual([])
  })

  it('under a rollback and a fork that are under way keeps what they mount', async () => {
    const box = the.sandbox('sb-a')
    const other = the.sandbox('sb-b')
    const taken = await take(box, 4)
    const top = taken.at(-1) ?? ''
    the.engine.answer('sandbox.rollback', async ({ sandbox, layers, head: made }) => {
      await take(box, 1)
      for (const id of taken) if (id !== top) await removeCheckpoint(the.state, id)
      await removed()
      the.engine.mount(sandbox, [made, ...layers])
      return { initPid: 1, stopped: 0, revived: 0, processes: [], timings: {} }
    })
    await rollbackSandbox(the.state, other, { checkpoint: top })
    expect(merged()).toBe(1)
    await removeCheckpoint(the.state, top)
    await removed()
    expectMountsWhole()
    expect(chainOf(other).length).toBeLessThan(the.engine.mounted.get(other)?.length ?? 0)
    await take(other, 1)
    await removed()
    expectMountsWhole()
  })
})

describe('a sandbox on as many layers as there can be', () => {
  it('waits until there are fewer', async () => {
    await the.close()
    the = await fakeState({ mergeDepth: 400 })
    const box = the.sandbox('sb-a')
    for (let i = 0; i < 399; i++) await checkpointSandbox(the.state, box, {})
    expect([the.store.layers.depth(head(box)), merged()]).toEqual([400, 0])
    await take(box, 2)
    expect(merged()).toBe(1)
    expect(the.store.layers.depth(head(box))).toBeLessThan(20)
  })

  it('is refused when they cannot be put together', async () => {
    await the.close()
    the = await fakeState({ mergeDepth: 400 })
    const box = the.sandbox('sb-a')
    for (let i = 0; i < 399; i++) await checkpointSandbox(the.state, box, {})
    the.engine.refuse('layers.merge', 'system')
    await expect(checkpointSandbox(the.state, box, {})).rejects.toMatchObject({ code: 'checkpoint_failed' })
  })
})
