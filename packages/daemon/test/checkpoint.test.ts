import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { DaemonEvent } from '@deltabox/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { EngineError, EngineLostError } from '../src/engine/client.js'
import { checkpointSandbox } from '../src/state/checkpoint.js'
import {
  getCheckpoint,
  listCheckpoints,
  relabelCheckpoint,
  removeCheckpoint,
  removeUnneededOf,
} from '../src/state/checkpoints.js'
import { destroySandbox } from '../src/state/destroy.js'
import { forkCheckpoint, forkSandbox } from '../src/state/fork.js'
import { settleHead } from '../src/state/heads.js'
import { rollbackSandbox } from '../src/state/rollback.js'
import type { SandboxRow } from '../src/state/sandbox-table.js'
import { checkpointTree } from '../src/state/tree.js'
import { type FakeState, fakeState } from './support/fake-engine.js'
import { checkpointAt, FAMILY } from './support/temporary-store.js'

let the: FakeState
let events: DaemonEvent[]

beforeEach(async () => {
  the = await fakeState()
  events = []
  the.state.events.subscribe((event) => events.push(event))
})
afterEach(() => the.close())

const row = (id: string): SandboxRow => the.store.sandboxes.get(id) as SandboxRow
const standing = (id: string): unknown => {
  const { head, checkpoint, state } = row(id)
  return { head, checkpoint, state }
}
const checkpoint = (id: string, label?: string) =>
  checkpointSandbox(the.state, id, label === undefined ? {} : { label })
const answered = () => new Promise(setImmediate)
const rollback = async (id: string, to: string) => {
  const rolledBack = await rollbackSandbox(the.state, id, { checkpoint: to })
  await answered()
  return rolledBack
}
const layersOf = (id: string): string[] =>
  the.store.layers.chain(row(id).head).map((layer) => the.layers.directory(layer))

async function fork(id: string, count = 1): Promise<string[]> {
  const { sandboxes } = id.startsWith('cp-')
    ? await forkCheckpoint(the.state, id, { count })
    : await forkSandbox(the.state, id, { count })
  return sandboxes.map((made) => ('id' in made ? made.id : ''))
}

/** What is on the disk and in the store is what sandboxes and checkpoints need: nothing else, and all of it. */
async function expectNothingLeft(): Promise<void> {
  the.afterwards.finish()
  while (the.store.layers.inState('doomed').length > 0) await new Promise(setImmediate)
  const needed = new Set<string>()
  const tops = [
    ...the.store.sandboxes.ofFamily(FAMILY).map(({ head }) => head),
    ...the.store.checkpoints.ofFamily(FAMILY).map(({ layer }) => layer),
  ]
  for (const top of tops) for (const { id } of the.store.layers.chain(top)) needed.add(id)
  const known = the.store.layers.ofFamily(FAMILY).map(({ id }) => id)
  expect(known.sort()).toEqual([...needed].sort())
  expect((await the.disk.list(FAMILY)).sort()).toEqual(known)
  for (const [sandbox, mounted] of the.engine.mounted) expect(layersOf(sandbox)).toEqual(mounted)
}

describe('a checkpoint', () => {
  it('freezes the head below a new one', async () => {
    const box = the.sandbox('sb-a')
    const before = row(box).head
    const info = await checkpoint(box, 'first')
    expect(info).toMatchObject({
      sandbox: box,
      parent: null,
      label: 'first',
      unchanged: false,
      blockingMs: 0.25,
      processes: 1,
      files: 2,
      depth: 1,
      timings: { blocking: 0.25 },
    })
    expect(row(box)).toMatchObject({ checkpoint: info.id })
    expect(the.store.layers.get(row(box).head)).toMatchObject({ parent: before, state: 'head' })
    expect(the.store.layers.get(before)).toMatchObject({ state: 'frozen' })
    expect(the.engine.requests.at(-1)?.parameters).not.toHaveProperty('layers')
    expect(events).toMatchObject([{ type: 'checkpoint.created', sandbox: box, checkpoint: info.id }])
    const next = await checkpoint(box)
    expect(next).toMatchObject({ parent: info.id, depth: 2, label: null })
    expect(listCheckpoints(the.state, box).checkpoints.map(({ id }) => id)).toEqual([info.id, next.id])
    await expectNothingLeft()
  })

  it('tells how much was written, and has it recorded with the layer', async () => {
    const box = the.sandbox('sb-a')
    const head = the.layers.directory({ family: FAMILY, id: row(box).head })
    writeFileSync(path.join(head, 'fs0/upper/file'), 'x'.repeat(100_000))
    const { fileBytes } = await checkpoint(box)
    expect(fileBytes).toBeGreaterThanOrEqual(100_000)
    expect(fileBytes).toBeLessThan(150_000)
    const file = path.join(head, 'layer.json')
    await expect.poll(() => existsSync(file), { timeout: 5000 }).toBe(true)
    expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({
      format: 1,
      family: FAMILY,
      parent: null,
      bytes: fileBytes,
    })
  })

  it('has the engine measure many files while nobody waits', async () => {
    const box = the.sandbox('sb-a')
    const upper = path.join(the.layers.directory({ family: FAMILY, id: row(box).head }), 'fs0/upper')
    for (let i = 0; i < 200; i++) mkdirSync(path.join(upper, `d${i}`))
    the.engine.answer('layer.measure', () => ({ bytes: 123, files: 200 }))
    const { id, fileBytes } = await checkpoint(box)
    expect(fileBytes).toBeNull()
    await expect.poll(() => getCheckpoint(the.state, id).fileBytes).toBe(123)
  })

  it('of an unchanged sandbox costs a record', async () => {
    const box = the.sandbox('sb-a')
    const first = await checkpoint(box)
    const { head } = row(box)
    the.engine.answer('sandbox.checkpoint', () => ({ unchanged: true, processes: 1, image: first.id }))
    const second = await checkpoint(box)
    expect(second).toMatchObject({ unchanged: true, parent: first.id, depth: 1, fileBytes: 0 })
    expect(row(box)).toMatchObject({ head, checkpoint: second.id })
    await expectNothingLeft()
    await removeCheckpoint(the.state, second.id)
    await removeCheckpoint(the.state, first.id)
    the.engine.answer('sandbox.checkpoint', () => ({ unchanged: true }))
    // Nothing was written since the switch; but where it stands now, the base, is not its state.
    const third = await checkpoint(box)
    expect(third).toMatchObject({ unchanged: false, parent: null, depth: 1 })
    expect(third.fileBytes).toBeGreaterThan(0)
    await expectNothingLeft()
  })

  it.each(['system', 'refused'])('that fails (%s) leaves nothing', async (code) => {
    const box = the.sandbox('sb-a')
    const before = standing(box)
    the.engine.refuse('sandbox.checkpoint', code)
    const expected = code === 'system' ? 'checkpoint_failed' : 'checkpoint_refused'
    await expect(checkpoint(box)).rejects.toMatchObject({ code: expected })
    expect(standing(box)).toEqual(before)
    expect(events).toEqual([])
    await expectNothingLeft()
  })

  it('that a passing moment forbids is tried again, for about a second', async () => {
    const box = the.sandbox('sb-a')
    let attempts = 0
    the.engine.answer('sandbox.checkpoint', ({ sandbox, head }) => {
      attempts += 1
      if (attempts < 4) throw new EngineError({ code: 'unsettled', errno: 0 })
      the.engine.mount(sandbox, [head, ...(the.engine.mounted.get(sandbox) ?? [])])
      return { unchanged: false, processes: 1, files: 0, timings: {} }
    })
    await checkpoint(box)
    expect(attempts).toBe(4)
    // Only the first copies much memory before it knows whether it can be.
    const asked = the.engine.requests.filter(({ operation }) => operation === 'sandbox.checkpoint')
    const much = asked.map(({ parameters }) => (parameters as { much: number }).much)
    expect(much).toEqual([2 ** 24, ...Array(3).fill(Number.MAX_SAFE_INTEGER)])
    const object = { pid: 5, command: Buffer.from('c'), object: Buffer.from('o'), reason: Buffer.from('r') }
    the.engine.answer('sandbox.checkpoint', () => {
      attempts += 1
      throw new EngineError({ code: 'unsettled', errno: 0, objects: [object] })
    })
    const started = performance.now()
    await expect(checkpoint(box)).rejects.toMatchObject({
      code: 'checkpoint_refused',
      details: { objects: [{ pid: 5, command: 'c', object: 'o', reason: 'r' }] },
    })
    expect(attempts).toBe(15)
    expect(performance.now() - started).toBeLessThan(2000)
    await expectNothingLeft()
  })

  it('leaves what a lost engine may have switched to, until its sandbox is removed', async () => {
    const box = the.sandbox('sb-a')
    the.engine.answer('sandbox.checkpoint', () => {
      throw new EngineLostError('gone')
    })
    await expect(checkpoint(box)).rejects.toMatchObject({ code: 'engine_lost' })
    expect(the.store.layers.headsOf(box).length).toBe(2)
    the.store.sandboxes.setState(box, 'dead', 'its engine ended')
    await destroySandbox(the.state, box)
    await expectNothingLeft()
    expect(the.store.layers.ofFamily(FAMILY)).toEqual([])
  })

  it('waits for the one before it', async () => {
    const box = the.sandbox('sb-a')
    const taken = await Promise.all([checkpoint(box), checkpoint(box), checkpoint(box)])
    expect(taken.map(({ parent }) => parent)).toEqual([null, taken[0]?.id, taken[1]?.id])
    await expectNothingLeft()
  })

  it('is found by the beginning of its id, and can be labelled', async () => {
    const { id } = await checkpoint(the.sandbox('sb-a'), 'a')
    expect(getCheckpoint(the.state, id.slice(0, 8)).id).toBe(id)
    expect(relabelCheckpoint(the.state, id, { label: null }).label).toBeNull()
    for (const unknown of ['cp-', 'cp-aaaaaaaaaa', 'base', 'sb-a']) {
      expect(() => getCheckpoint(the.state, unknown)).toThrow(
        expect.objectContaining({ code: 'checkpoint_not_found' }),
      )
    }
  })
})

describe('a rollback', () => {
  it('stands on the checkpoint’s chain, and drops what was written since', async () => {
    const box = the.sandbox('sb-a')
    const first = await checkpoint(box)
    await checkpoint(box)
    const { head } = row(box)
    events.splice(0)
    expect(await rollback(box, first.id)).toMatchObject({
      sandbox: box,
      checkpoint: first.id,
      source: 'template',
      processes: 1,
      lost: 0,
      stopped: 3,
    })
    expect(row(box).checkpoint).toBe(first.id)
    expect(the.store.layers.depth(row(box).head)).toBe(2)
    expect(events).toMatchObject([{ type: 'sandbox.rolled-back', sandbox: box, checkpoint: first.id }])
    await expectNothingLeft()
    expect(existsSync(the.layers.directory({ family: FAMILY, id: head }))).toBe(false)
  })

  it('that fails changes nothing', async () => {
    const box = the.sandbox('sb-a')
    const first = await checkpoint(box)
    const before = standing(box)
    the.engine.refuse('sandbox.rollback', 'system')
    await expect(rollback(box, first.id)).rejects.toMatchObject({ code: 'rollback_failed' })
    expect(standing(box)).toEqual(before)
    await expectNothingLeft()
  })

  it('brings the processes back that the engine has, and tells of those that ended with it', async () => {
    const box = the.sandbox('sb-a')
    const { id } = await checkpoint(box)
    const imagesOf = (operation: string): unknown[] =>
      the.engine.requests
        .filter((request) => request.operation === operation)
        .map(({ parameters }) => (parameters as { image?: string }).image)
    expect(imagesOf('sandbox.checkpoint')).toEqual([id])
    await rollback(box, id)
    await fork(id)
    expect([...imagesOf('sandbox.rollback'), ...imagesOf('sandbox.create')]).toEqual([id, id])
    the.store.images.forgetMemory(FAMILY)
    expect(getCheckpoint(the.state, id)).toMatchObject({ processes: 1, lost: 1, state: 'failed' })
    expect(await rollback(box, id)).toMatchObject({ source: 'image', lost: 1 })
    expect(imagesOf('sandbox.rollback')).toEqual([id, undefined])
    await removeCheckpoint(the.state, id)
    expect(imagesOf('image.drop')).toEqual([])
  })

  it('leads nowhere outside the family', async () => {
    const box = the.sandbox('sb-a')
    the.store.checkpoints.insert({
      ...checkpointAt('cp-other', null),
      family: 'other',
    })
    await expect(rollback(box, 'cp-other')).rejects.toMatchObject({ code: 'checkpoint_of_other_base' })
  })

  it('to a checkpoint that is removed meanwhile keeps its layers, and stands on its parent', async () => {
    const box = the.sandbox('sb-a')
    const first = await checkpoint(box)
    const second = await checkpoint(box)
    the.engine.answer('sandbox.rollback', async ({ sandbox, layers, head }) => {
      await removeCheckpoint(the.state, second.id)
      await new Promise((resolve) => setTimeout(resolve, 50))
      for (const layer of layers) expect(existsSync(layer)).toBe(true)
      the.engine.mount(sandbox, [head, ...layers])
      return { initPid: 1, stopped: 0, revived: 0, processes: [], timings: {} }
    })
    await rollback(box, second.id)
    expect(row(box).checkpoint).toBe(first.id)
    expect(the.store.layers.depth(row(box).head)).toBe(3)
    await expectNothingLeft()
  })
})

describe('a fork', () => {
  it('of a checkpoint gives sandboxes on its chain', async () => {
    const box = the.sandbox('sb-a')
    const { id } = await checkpoint(box)
    events.splice(0)
    const kids = await fork(id, 3)
    expect(kids.length).toBe(3)
    for (const kid of kids) {
      expect(row(kid)).toMatchObject({ state: 'running', name: null, checkpoint: id })
      expect(layersOf(kid).slice(1)).toEqual(layersOf(box).slice(1))
    }
    expect(events.map(({ type, sandbox }) => [type, sandbox])).toEqual(
      kids.flatMap((kid) => [
        ['sandbox.created', kid],
        ['sandbox.forked', kid],
      ]),
    )
    await expectNothingLeft()
  })

  it('of a sandbox takes a checkpoint that goes with the last that stands on it', async () => {
    const box = the.sandbox('sb-a')
    const [kid = '', other = ''] = await fork(box, 2)
    const taken = row(kid).checkpoint ?? ''
    expect(taken).toMatch(/^cp-/)
    expect(row(box).checkpoint).toBe(taken)
    expect(listCheckpoints(the.state, box).checkpoints).toEqual([])
    expect(getCheckpoint(the.state, taken)).toMatchObject({ sandbox: box, label: null })
    await checkpoint(box)
    await destroySandbox(the.state, kid)
    const mine = await checkpoint(other)
    expect(mine.parent).toBe(taken)
    await destroySandbox(the.state, other)
    await destroySandbox(the.state, box)
    expect(getCheckpoint(the.state, taken).id).toBe(taken)
    for (const { id } of the.store.checkpoints.ofFamily(FAMILY)) {
      if (id !== taken) await removeCheckpoint(the.state, id)
    }
    expect(the.store.checkpoints.ofFamily(FAMILY)).toEqual([])
    await expectNothingLeft()
  })

  it('of an unchanged sandbox stands where the sandbox stands', async () => {
    const box = the.sandbox('sb-a')
    the.engine.answer('sandbox.checkpoint', () => ({ unchanged: true }))
    const [kid = ''] = await fork(box)
    expect(row(kid).checkpoint).toBeNull()
    expect(the.store.checkpoints.ofFamily(FAMILY)).toEqual([])
    await expectNothingLeft()
  })

  it('of what is killed meanwhile makes those that are left from disk', async () => {
    const box = the.sandbox('sb-a')
    const { id } = await checkpoint(box)
    the.store.images.setOnDisk(id, 4096, [])
    const failed: string[] = []
    let isKilled = false
    let made = 0
    the.engine.answer('sandbox.create', ({ sandbox, layers, head }) => {
      made += 1
      isKilled ||= made === 3
      if (isKilled) {
        failed.push(sandbox)
        throw new EngineError({ code: 'no_such_image', errno: 0, step: '', object: '', message: 'killed' })
      }
      the.engine.mount(sandbox, [head, ...layers])
      return { initPid: 1, cgroups: [], revived: 1, processes: [], timings: {} }
    })
    the.engine.answer('image.load', () => {
      isKilled = false
      return { bytes: 8192 }
    })
    const before = the.engine.requests.length
    const kids = await fork(id, 4)
    const asked = the.engine.requests
      .slice(before)
      .map(({ operation, parameters }) => [operation, (parameters as { sandbox?: string }).sandbox])
      .filter(([operation]) => /^(sandbox|image)\./.test(operation ?? ''))
    expect(
      asked
        .slice(0, 4)
        .map(([, sandbox]) => sandbox)
        .sort(),
    ).toEqual([...kids].sort())
    expect(asked.slice(4)).toEqual([
      ['image.drop', undefined],
      ['image.load', undefined],
      ...kids.filter((kid) => failed.includes(kid)).map((kid) => ['sandbox.create', kid]),
    ])
    expect(failed.length).toBe(2)
    for (const kid of kids) expect(row(kid)).toMatchObject({ state: 'running', checkpoint: id })
    expect(events.filter(({ type }) => type === 'sandbox.forked').length).toBe(4)
    await expectNothingLeft()
  })

  const failThird = (): void => {
    let made = 0
    the.engine.answer('sandbox.create', ({ sandbox, layers, head }) => {
      made += 1
      if (made === 3) throw new EngineError({ code: 'system', errno: 5, step: 'attach root', message: 'EIO' })
      the.engine.mount(sandbox, [head, ...layers])
      return { initPid: 1, cgroups: [], revived: 0, processes: [], timings: {} }
    })
  }

  it('of which one fails leaves none', async () => {
    const box = the.sandbox('sb-a')
    const before = await checkpoint(box)
    failThird()
    await expect(fork(box, 4)).rejects.toMatchObject({
      code: 'fork_failed',
      details: { code: 'engine_failed', failed: 1, count: 4 },
    })
    expect(the.store.sandboxes.all().map(({ id }) => id)).toEqual([box])
    expect([...the.engine.mounted.keys()]).toEqual([box])
    expect(events.some(({ type }) => type === 'sandbox.created')).toBe(false)
    // The sandbox itself stands on what the fork took.
    expect(getCheckpoint(the.state, row(box).checkpoint ?? '').parent).toBe(before.id)
    await expectNothingLeft()
  })

  it('may give part of what was asked for', async () => {
    const box = the.sandbox('sb-a')
    const { id } = await checkpoint(box)
    failThird()
    const { sandboxes } = await forkCheckpoint(the.state, id, { count: 4, partial: true })
    expect(sandboxes.map((made) => ('id' in made ? 'made' : made.error.code)).sort()).toEqual([
      ...['engine_failed', 'made', 'made', 'made'],
    ])
    expect(the.store.sandboxes.all().length).toBe(4)
    await expectNothingLeft()
  })
})

describe('removing', () => {
  it('a checkpoint gives its children to its parent and keeps what others stand on', async () => {
    const box = the.sandbox('sb-a')
    const first = await checkpoint(box)
    const second = await checkpoint(box)
    const third = await checkpoint(box)
    const [kid = ''] = await fork(second.id)
    await removeCheckpoint(the.state, second.id)
    expect(events.at(-1)).toMatchObject({ type: 'checkpoint.removed', sandbox: box, checkpoint: second.id })
    expect(getCheckpoint(the.state, third.id).parent).toBe(first.id)
    expect(row(kid).checkpoint).toBe(first.id)
    expect(checkpointTree(the.state, {}).roots).toMatchObject([
      {
        kind: 'base',
        base: '/',
        workspace: null,
        children: [
          {
            id: first.id,
            children: [
              { kind: 'checkpoint', id: third.id, children: [{ kind: 'sandbox', id: box }] },
              { kind: 'sandbox', id: kid },
            ],
          },
        ],
      },
    ])
    await expectNothingLeft()
  })

  it('a sandbox keeps its checkpoints, or those that others need', async () => {
    const box = the.sandbox('sb-a')
    const first = await checkpoint(box)
    const second = await checkpoint(box)
    await checkpoint(box)
    const [kid = ''] = await fork(first.id)
    const ofKid = await checkpoint(kid)
    expect(await destroySandbox(the.state, box)).toEqual({ checkpoints: 3 })
    expect(removeUnneededOf(the.state, box)).toBe(1)
    const left = the.store.checkpoints.ofFamily(FAMILY).map(({ id }) => id)
    expect(left).toEqual([first.id, ofKid.id])
    expect(() => getCheckpoint(the.state, second.id)).toThrow()
    await expectNothingLeft()
    // With the last that needs it goes also what was only kept for that.
    expect(await destroySandbox(the.state, kid, { checkpoints: true })).toEqual({ checkpoints: 0 })
    expect(the.store.checkpoints.ofFamily(FAMILY)).toEqual([])
    await expectNothingLeft()
  })
})

describe('a rollback whose processes come from disk', () => {
  /** While they are on their way. */
  async function meanwhile(box: string, to: string, event: () => void): Promise<void> {
    the.store.images.setOnDisk(to, 4096, [])
    the.store.images.setState(to, 'ready')
    the.store.images.setInMemory(to, false, 8192)
    the.engine.answer('image.load', async () => {
      event()
      return { bytes: 8192 }
    })
    await rollback(box, to)
  }

  it('stands on what its layers have been put together to meanwhile', async () => {
    const box = the.sandbox('sb-a')
    const { id } = await checkpoint(box)
    await checkpoint(box)
    const old = the.store.checkpoints.get(id)?.layer as string
    const merged = the.layers.newMerging({ family: FAMILY, parent: null })
    await meanwhile(box, id, () =>
      the.store.transaction(() => {
        the.store.layers.setState(merged.id, 'frozen')
        the.store.layers.moveParents(old, merged.id)
        the.store.checkpoints.moveLayers(old, merged.id)
        the.layers.release(old)
      }),
    )
    expect(layersOf(box).slice(1)).toEqual([the.layers.directory(merged)])
    expect(the.engine.mounted.get(box)).toEqual(layersOf(box))
  })

  it('fails where it was removed meanwhile', async () => {
    const box = the.sandbox('sb-a')
    const { id } = await checkpoint(box)
    await checkpoint(box)
    const before = standing(box)
    await expect(meanwhile(box, id, () => void removeCheckpoint(the.state, id))).rejects.toMatchObject({
      code: 'checkpoint_not_found',
    })
    expect(standing(box)).toEqual(before)
  })
})

describe('a head that the engine switched to unnoticed', () => {
  it('of a checkpoint lies on the old one; the checkpoint is not registered', async () => {
    const box = the.sandbox('sb-a')
    const first = await checkpoint(box)
    const { head: parent } = row(box)
    const intended = the.layers.newHead({ family: FAMILY, sandbox: box, parent, target: null })
    the.engine.mount(box, [the.layers.directory(intended), ...layersOf(box)])
    expect(settleHead(the.state, row(box), the.layers.directory(intended))).toBe(true)
    expect(row(box)).toMatchObject({ head: intended.id, checkpoint: first.id })
    expect(the.store.layers.get(parent)?.state).toBe('frozen')
    expect(the.store.checkpoints.ofFamily(FAMILY).length).toBe(1)
    await expectNothingLeft()
    // The state it stands on now is not its checkpoint's.
    expect(await checkpoint(box)).toMatchObject({ parent: first.id, depth: 3 })
  })

  it('of a rollback stands on its target', async () => {
    const box = the.sandbox('sb-a')
    const first = await checkpoint(box)
    await checkpoint(box)
    const { layer: parent } = the.store.checkpoints.get(first.id) as { layer: string | null }
    const intended = the.layers.newHead({ family: FAMILY, sandbox: box, parent, target: first.id })
    const chain = the.layers.chainDirectories({ family: FAMILY, top: parent })
    the.engine.mount(box, [the.layers.directory(intended), ...chain])
    expect(settleHead(the.state, row(box), the.layers.directory(intended))).toBe(true)
    expect(row(box)).toMatchObject({ head: intended.id, checkpoint: first.id })
    await expectNothingLeft()
  })

  it('is none that nobody made', () => {
    const box = the.sandbox('sb-a')
    expect(settleHead(the.state, row(box), '/elsewhere/l-unknown')).toBe(false)
  })
})
