import type { DaemonEvent, PromoteFork } from '@deltabox/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { EngineError } from '../src/engine/client.js'
import { checkpointSandbox } from '../src/state/checkpoint.js'
import { getCheckpoint, listCheckpoints, removeCheckpoint } from '../src/state/checkpoints.js'
import { destroySandbox } from '../src/state/destroy.js'
import { forkCheckpoint, forkSandbox } from '../src/state/fork.js'
import { promoteFork } from '../src/state/promote.js'
import { rollbackSandbox } from '../src/state/rollback.js'
import type { SandboxRow } from '../src/state/sandbox-table.js'
import { type FakeState, fakeState } from './support/fake-engine.js'
import { FAMILY } from './support/temporary-store.js'

let the: FakeState
let box: string

beforeEach(async () => {
  the = await fakeState()
  box = the.sandbox('sb-a')
})
afterEach(() => the.close())

const row = (id: string): SandboxRow => the.store.sandboxes.get(id) as SandboxRow
const standsOn = (id: string): string | null => row(id).checkpoint
const sandboxes = (): string[] => the.store.sandboxes.all().map(({ id }) => id)
const all = (): string[] => the.store.checkpoints.ofFamily(FAMILY).map(({ id }) => id)
const checkpoint = async (id: string): Promise<string> => (await checkpointSandbox(the.state, id, {})).id
const promote = (fork: string, options: Omit<PromoteFork, 'fork'> = {}, to = box) =>
  promoteFork(the.state, to, { fork, ...options })
/** Nothing was written and nothing runs. */
const rest = (): void => the.engine.answer('sandbox.checkpoint', () => ({ unchanged: true }))

async function fork(id: string, count = 1): Promise<string[]> {
  const { sandboxes: made } = id.startsWith('cp-')
    ? await forkCheckpoint(the.state, id, { count })
    : await forkSandbox(the.state, id, { count })
  return made.map((one) => ('id' in one ? one.id : ''))
}

describe('a promotion', () => {
  it('takes a checkpoint of the fork that stays, and goes on from it', async () => {
    const [kid = ''] = await fork(box)
    const events: DaemonEvent[] = []
    the.state.events.subscribe((event) => events.push(event))
    const done = await promote(kid)
    expect(done).toMatchObject({
      ...{ sandbox: box, fork: kid, source: 'template', stopped: 3, processes: 1, lost: 0, dropped: [] },
      ms: expect.any(Number),
    })
    expect(done).not.toHaveProperty('notDropped')
    expect([standsOn(box), standsOn(kid)]).toEqual([done.checkpoint, done.checkpoint])
    expect(listCheckpoints(the.state, kid).checkpoints).toMatchObject([{ id: done.checkpoint, label: null }])
    expect(listCheckpoints(the.state, box).checkpoints).toEqual([])
    const told = { sandbox: box, checkpoint: done.checkpoint }
    expect(events).toMatchObject([
      { type: 'checkpoint.created', sandbox: kid, checkpoint: done.checkpoint },
      { type: 'sandbox.rolled-back', ...told },
      { type: 'sandbox.promoted', ...told, fork: kid },
    ])
    await destroySandbox(the.state, kid)
    expect(getCheckpoint(the.state, done.checkpoint).id).toBe(done.checkpoint)
  })

  it('goes to the checkpoint that an unchanged fork stands on, which stays from now on', async () => {
    const quiet = { unchanged: false, processes: 0, files: 0, timings: {} }
    the.engine.answer('sandbox.checkpoint', ({ sandbox, head }) => {
      the.engine.mount(sandbox, [head, ...(the.engine.mounted.get(sandbox) ?? [])])
      return quiet
    })
    const [kid = ''] = await fork(box)
    const taken = standsOn(kid)
    rest()
    expect(await promote(kid)).toMatchObject({ checkpoint: taken })
    expect(all()).toEqual([taken])
    await destroySandbox(the.state, kid)
    await destroySandbox(the.state, box)
    expect(all()).toEqual([taken])
  })

  it('of a fork whose processes have ended does not bring them back', async () => {
    const before = await checkpoint(box)
    const [kid = ''] = await fork(before)
    expect(getCheckpoint(the.state, before).processes).toBe(1)
    rest()
    const done = await promote(kid)
    expect(getCheckpoint(the.state, done.checkpoint)).toMatchObject({
      ...{ sandbox: kid, parent: before, unchanged: false, fileBytes: 0, processes: 0 },
    })
    expect(done.source).toBe('image')
  })

  it('of a fork of the base, where nothing was written, has a checkpoint all the same', async () => {
    rest()
    const [kid = ''] = await fork(box)
    const done = await promote(kid)
    expect(getCheckpoint(the.state, done.checkpoint)).toMatchObject({ sandbox: kid, parent: null, depth: 0 })
    expect(standsOn(box)).toBe(done.checkpoint)
  })

  it('has what the fork had applied, and of a path that both had the later', async () => {
    const [kid = ''] = await fork(box)
    const { applied } = the.store
    applied.set(box, Buffer.from('mine'), 1n)
    applied.set(box, Buffer.from('early'), 9n)
    applied.set(box, Buffer.from('late'), 30n)
    applied.set(kid, Buffer.from('its'), 2n)
    applied.set(kid, Buffer.from('early'), 10n)
    applied.set(kid, Buffer.from('late'), 20n)
    await promote(kid)
    expect(applied.all(box)).toEqual(
      new Map([
        ['mine', 1n],
        ['early', 10n],
        ['late', 30n],
        ['its', 2n],
      ]),
    )
  })

  it('does not depend on what becomes of the fork meanwhile', async () => {
    const [kid = ''] = await fork(box)
    let release = (): void => {}
    const busy = the.state.serial.run(box, () => new Promise<void>((resolve) => (release = resolve)))
    const promoting = promote(kid, { drop: true })
    await expect.poll(() => listCheckpoints(the.state, kid).checkpoints.length).toBe(1)
    await destroySandbox(the.state, kid)
    release()
    await busy
    const { checkpoint: taken, dropped, notDropped } = await promoting
    expect([standsOn(box), dropped, notDropped]).toEqual([taken, [], undefined])
  })

  it('and one the other way round at the same time do not wait for each other', async () => {
    const [kid = ''] = await fork(box)
    await Promise.all([promote(kid), promote(box, {}, kid), promote(kid), promote(box, {}, kid)])
    expect(sandboxes()).toEqual([box, kid])
  })
})

describe('a promotion that fails', () => {
  it('at the checkpoint changes nothing', async () => {
    const [kid = ''] = await fork(box)
    const before = [standsOn(box), all()]
    the.engine.refuse('sandbox.checkpoint', 'refused')
    await expect(promote(kid, { drop: true })).rejects.toMatchObject({ code: 'checkpoint_refused' })
    expect([standsOn(box), all(), sandboxes()]).toEqual([...before, [box, kid]])
  })

  it('at the rollback leaves nothing when its fork goes, and drops nobody', async () => {
    const [kid = ''] = await fork(box)
    const before = standsOn(box) as string
    the.engine.refuse('sandbox.rollback', 'system')
    await expect(promote(kid, { drop: true })).rejects.toMatchObject({ code: 'rollback_failed' })
    expect([standsOn(box), sandboxes()]).toEqual([before, [box, kid]])
    expect(listCheckpoints(the.state, kid).checkpoints).toEqual([])
    await destroySandbox(the.state, kid)
    expect(all()).toEqual([before])
  })

  it('at the rollback keeps a checkpoint that somebody wanted', async () => {
    the.engine.answer('sandbox.checkpoint', ({ sandbox, head }) => {
      the.engine.mount(sandbox, [head, ...(the.engine.mounted.get(sandbox) ?? [])])
      return { unchanged: false, processes: 0, files: 0, timings: {} }
    })
    const wanted = await checkpoint(box)
    const [kid = ''] = await fork(wanted)
    rest()
    the.engine.refuse('sandbox.rollback', 'system')
    await expect(promote(kid)).rejects.toMatchObject({ code: 'rollback_failed' })
    expect(listCheckpoints(the.state, box).checkpoints).toMatchObject([{ id: wanted }])
  })

  it('names what cannot be promoted, and why', async () => {
    the.store.families.insert('other', 2)
    the.store.families.setSetup('other', the.store.families.get(FAMILY)?.setup as never)
    const standing = {
      family: 'other',
      head: 'l',
      checkpoint: null,
      parent: null,
      forkedFrom: null,
      createdAt: 1,
    }
    the.store.sandboxes.insert({ id: 'sb-stranger', name: 'stranger', ...standing })
    the.store.sandboxes.setRunning('sb-stranger', [])
    await expect(promote('stranger')).rejects.toMatchObject({
      code: 'checkpoint_of_other_base',
      message: 'cannot promote stranger: it and sb-a do not descend from the same sandbox',
      details: { sandbox: box, fork: 'sb-stranger' },
    })
    await expect(promote(box)).rejects.toMatchObject({
      code: 'invalid_request',
      message: 'cannot promote sb-a: fork and sandbox are the same',
    })
    await expect(promote('sb-nobody')).rejects.toMatchObject({ code: 'sandbox_not_found' })
    expect(the.engine.requests).toEqual([])
  })
})

describe('dropping', () => {
  it('removes the fork and what was forked from the same checkpoint, in any call, and no other', async () => {
    const early = await checkpoint(box)
    const [uncle = ''] = await fork(early)
    const late = await checkpoint(box)
    const [first = '', second = ''] = await fork(late, 2)
    const [third = ''] = await fork(late)
    const [nephew = ''] = await fork(second)
    // Where it stands by now says nothing of where it came from.
    await rollbackSandbox(the.state, third, { checkpoint: early })
    const done = await promote(first, { drop: true })
    expect(done.dropped).toEqual([first, second, third])
    expect(sandboxes()).toEqual([box, uncle, nephew])
    expect(standsOn(box)).toBe(done.checkpoint)
  })

  it('spares the sandbox that goes on, when it is one of them', async () => {
    const [first = '', second = '', third = ''] = await fork(await checkpoint(box), 3)
    const { dropped } = await promote(first, { drop: true }, second)
    expect(dropped).toEqual([first, third])
    expect(sandboxes()).toEqual([box, second])
  })

  it('spares forks of a fork, also of one that had not changed', async () => {
    const point = await checkpoint(box)
    const [first = '', second = ''] = await fork(point, 2)
    the.engine.answer('sandbox.checkpoint', () => ({ unchanged: true, processes: 1, image: point }))
    const [nephew = ''] = await fork(second)
    expect(standsOn(nephew)).toBe(standsOn(first))
    const { dropped } = await promote(nephew, { drop: true }, second)
    expect(dropped).toEqual([nephew])
    expect(sandboxes()).toEqual([box, first, second])
  })

  it('knows forks of the base from the first of the family', async () => {
    rest()
    const [first = '', second = '', third = ''] = await fork(box, 3)
    expect((await promote(first, { drop: true }, second)).dropped).toEqual([first, third])
    expect(sandboxes()).toEqual([box, second])
    expect((await promote(box, { drop: true }, second)).dropped).toEqual([box])
  })

  it('knows what was forked from a checkpoint that is gone', async () => {
    const early = await checkpoint(box)
    const late = await checkpoint(box)
    await fork(early)
    const [second = '', third = ''] = await fork(late, 2)
    await removeCheckpoint(the.state, late)
    await removeCheckpoint(the.state, early)
    expect((await promote(second, { drop: true })).dropped).toEqual([second, third])
  })

  it('that fails for one tells of it, and undoes nothing', async () => {
    const [first = '', second = '', third = ''] = await fork(await checkpoint(box), 3)
    the.engine.answer('sandbox.destroy', ({ sandbox }) => {
      if (sandbox === second)
        throw new EngineError({ code: 'system', errno: 5, step: 'umount', message: 'EIO' })
      the.engine.mounted.delete(sandbox)
      return {}
    })
    const done = await promote(first, { drop: true })
    expect(done).toMatchObject({
      dropped: [first, third],
      notDropped: [
        {
          error: {
            code: 'engine_failed',
            message: expect.stringContaining(`cannot remove sandbox ${second}: `),
            details: { sandbox: second },
          },
        },
      ],
    })
    expect(standsOn(box)).toBe(done.checkpoint)
    expect(sandboxes()).toEqual([box, second])
  })
})
