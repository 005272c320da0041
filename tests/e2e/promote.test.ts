/** A fork becomes the main line: its state, files and processes, goes on in the sandbox it was made from. */

import { type CheckpointNode, type CommandHandle, Sandbox, type SandboxNode } from 'deltabox'
import { describe, expect, it } from 'vitest'
import { enginesOf } from './support/engines.js'
import { besidesDurable, seenEvents } from './support/seen-events.js'
import { sh, useBoxes } from './support/use-boxes.js'

const { create, keep, the } = useBoxes()

/** Counts the lines it is given. */
class Counter {
  readonly handle: CommandHandle
  readonly #lines: AsyncIterator<unknown>

  constructor(handle: CommandHandle) {
    this.handle = handle
    this.#lines = handle.stdout[Symbol.asyncIterator]()
  }

  static async start(box: Sandbox): Promise<Counter> {
    const script = 'import sys\nn = 0\nfor line in sys.stdin: n += 1; print(n, flush=True)'
    return new Counter(await box.commands.start(['python3', '-c', script], { stdin: true }))
  }

  async in(box: Sandbox): Promise<Counter> {
    return new Counter(await box.commands.connect(this.handle.process))
  }

  async count(): Promise<number> {
    await this.handle.sendStdin('\n')
    return Number((await this.#lines.next()).value)
  }
}

function countCheckpoints(node: { readonly children: readonly (CheckpointNode | SandboxNode)[] }): number {
  return node.children.reduce(
    (sum, child) => sum + (child.kind === 'checkpoint' ? 1 + countCheckpoints(child) : 0),
    0,
  )
}

const idsLeft = async (): Promise<string[]> =>
  (await Sandbox.list({ client: the.client })).map(({ id }) => id).sort()
const idsOf = (some: readonly Sandbox[]): string[] => some.map(({ id }) => id).sort()

describe('a promotion', () => {
  it('goes on with the files and processes of the fork, under the id and name of the sandbox', async () => {
    const box = await create({ name: 'main' })
    const counter = await Counter.start(box)
    expect(await counter.count()).toBe(1)
    await sh(box, 'echo common > /srv/f; echo common > /srv/gone')
    const [kid, other] = keep(await box.fork(2)) as [Sandbox, Sandbox]
    const ofKid = await counter.in(kid)
    expect([await ofKid.count(), await ofKid.count(), await counter.count()]).toEqual([2, 3, 2])
    const own = await kid.commands.start(['sleep', '1000'])
    await sh(kid, 'echo kid > /srv/f; rm /srv/gone; echo new > /srv/new')
    const late = await box.commands.start(['sleep', '1000'])
    await sh(box, 'echo main > /srv/f; echo main > /srv/main')

    const done = await box.promote(kid)
    expect(done).toMatchObject({
      ...{ sandbox: box.id, fork: kid.id, source: 'template', stopped: 2, processes: 2, lost: 0 },
      ...{ ms: expect.any(Number), dropped: [] },
    })
    expect((await Sandbox.connect('main', { client: the.client })).info).toMatchObject({
      ...{ id: box.id, name: 'main', state: 'running', checkpoint: done.checkpoint },
    })
    expect(box.info.checkpoint).toBe(done.checkpoint)
    expect(await Sandbox.getCheckpoint(done.checkpoint, { client: the.client })).toMatchObject({
      ...{ sandbox: kid.id, label: null, processes: 2 },
    })
    expect(await sh(box, 'cd /srv; tail -n 9 *')).toBe('==> f <==\nkid\n\n==> new <==\nnew\n')
    expect(await late.wait()).toMatchObject({ signal: 'SIGKILL' })
    expect(await box.commands.info(own.process)).toMatchObject({ state: 'running' })
    // The handle that was opened before goes on, with what the fork's had counted.
    expect(await counter.count()).toBe(4)
    expect([await ofKid.count(), await ofKid.count()]).toEqual([4, 5])
    await (await box.commands.connect(own.process)).kill()
    expect((await kid.commands.info(own.process)).state).toBe('running')
    expect(await sh(kid, 'cat /srv/f')).toBe('kid\n')
    expect(await sh(other, 'cat /srv/f')).toBe('common\n')
  })

  it('of an unchanged fork takes no checkpoint more', async () => {
    const box = await create()
    await sh(box, 'echo then > /srv/f')
    const before = await box.checkpoint()
    const [kid] = keep(await before.fork()) as [Sandbox]
    await sh(box, 'echo now > /srv/f')
    expect(await box.promote(kid.id)).toMatchObject({ checkpoint: before.id, source: 'image' })
    expect(countCheckpoints(await box.tree())).toBe(1)
    expect(await sh(box, 'cat /srv/f')).toBe('then\n')
    const [copy] = keep(await box.fork()) as [Sandbox]
    const { checkpoint } = await box.promote(copy)
    expect(checkpoint).toBe(before.id)
    expect(countCheckpoints(await box.tree())).toBe(1)
  })

  it('does not bring back what has ended in the fork', async () => {
    const box = await create()
    const sleeper = await box.commands.start(['sleep', '1000'])
    const [kid] = keep(await (await box.checkpoint()).fork()) as [Sandbox]
    const copy = await kid.commands.connect(sleeper.process)
    await copy.kill()
    await copy.wait()
    expect(await box.promote(kid)).toMatchObject({ processes: 0, stopped: 1 })
    expect(await sh(box, 'pgrep -c sleep || true')).toBe('0\n')
  })

  it('gives up the state the sandbox had, which a checkpoint keeps', async () => {
    const box = await create()
    const [kid] = keep(await box.fork()) as [Sandbox]
    await sh(box, 'echo mine > /srv/f')
    const mine = await box.checkpoint()
    await sh(box, 'echo lost > /srv/f')
    await box.promote(kid)
    expect(await box.files.exists('/srv/f')).toBe(false)
    await box.rollback(mine)
    expect(await sh(box, 'cat /srv/f')).toBe('mine\n')
  })

  it('goes between any two of a family, and lets a dead one live again', async () => {
    const box = await create()
    const [kid] = keep(await box.fork()) as [Sandbox]
    const [grandchild] = keep(await kid.fork()) as [Sandbox]
    await sh(grandchild, 'echo deep > /srv/f')
    await kid.promote(box)
    await kid.promote(grandchild)
    await box.promote(kid)
    for (const each of [box, kid]) expect(await sh(each, 'cat /srv/f')).toBe('deep\n')
    const point = await kid.checkpoint()
    for (const engine of enginesOf(the.daemon).values()) process.kill(engine, 'SIGKILL')
    await expect
      .poll(async () => (await Sandbox.connect(box.id, { client: the.client })).info.state)
      .toBe('dead')
    await expect(box.promote(kid)).rejects.toMatchObject({ code: 'sandbox_dead' })
    await kid.rollback(point)
    await box.promote(kid, { drop: true })
    expect(await sh(box, 'cat /srv/f')).toBe('deep\n')
  })

  it('is told of in events, after its steps', async () => {
    const box = await create()
    const [kid] = keep(await box.fork()) as [Sandbox]
    await sh(kid, 'echo kid > /srv/f')
    const stream = await the.daemon.open('GET', '/v1/events')
    const seen = seenEvents(stream)
    const { checkpoint } = await box.promote(kid, { drop: true })
    await expect.poll(() => besidesDurable(seen).at(-1)?.type).toBe('sandbox.removed')
    stream.destroy()
    const told = besidesDurable(seen)
    expect(told.map(({ type, sandbox, ...rest }) => [type, sandbox, rest.checkpoint, rest.fork])).toEqual([
      ['checkpoint.created', kid.id, checkpoint, undefined],
      ['sandbox.rolled-back', box.id, checkpoint, undefined],
      ['sandbox.promoted', box.id, checkpoint, kid.id],
      ['sandbox.removed', kid.id, undefined, undefined],
    ])
  })

  it('refuses what is of another family, the sandbox itself and nobody', async () => {
    const box = await create({ name: 'main' })
    const other = await create({ name: 'other' })
    await expect(box.promote(other, { drop: true })).rejects.toMatchObject({
      code: 'checkpoint_of_other_base',
      message: 'cannot promote other: it and main do not descend from the same sandbox',
    })
    await expect(box.promote('main', { drop: true })).rejects.toMatchObject({
      code: 'invalid_request',
      message: 'cannot promote main: fork and sandbox are the same',
    })
    await expect(box.promote('nobody')).rejects.toMatchObject({ code: 'sandbox_not_found' })
    const url = `/v1/sandboxes/${box.id}/promote`
    for (const body of [{}, { fork: 5 }, { fork: other.id, others: true }]) {
      expect((await the.daemon.call('POST', url, body)).json.error.code).toBe('invalid_request')
    }
    expect(await idsLeft()).toEqual(idsOf([box, other]))
    expect([await box.checkpoints(), await other.checkpoints()]).toEqual([[], []])
  })
})

describe('dropping', () => {
  it('removes the fork and its siblings, and keeps all others and every checkpoint', async () => {
    const box = await create({ name: 'main' })
    const stranger = await create()
    await sh(box, 'echo early > /srv/f')
    const [uncle] = keep(await (await box.checkpoint()).fork()) as [Sandbox]
    await sh(box, 'echo late > /srv/f')
    const late = await box.checkpoint()
    const siblings = keep([...(await late.fork(3)), ...(await late.fork(1))])
    const [best, second] = siblings as [Sandbox, Sandbox]
    const [nephew] = keep(await second.fork()) as [Sandbox]
    await second.rename('second')
    const ofSecond = await second.checkpoint()
    await sh(best, 'echo best > /srv/f')

    const done = await box.promote(best, { drop: true })
    expect([...done.dropped].sort()).toEqual(idsOf(siblings))
    expect(done).not.toHaveProperty('notDropped')
    expect(await idsLeft()).toEqual(idsOf([box, stranger, uncle, nephew]))
    expect(await sh(box, 'cat /srv/f')).toBe('best\n')
    expect(await sh(uncle, 'cat /srv/f')).toBe('early\n')
    expect(await sh(nephew, 'cat /srv/f')).toBe('late\n')
    for (const { id } of [late, ofSecond, { id: done.checkpoint }]) {
      expect((await Sandbox.getCheckpoint(id, { client: the.client })).id).toBe(id)
    }
    await box.rollback(done.checkpoint)
    expect(await sh(box, 'cat /srv/f')).toBe('best\n')
  })

  it('knows siblings also after the daemon was killed', async () => {
    const box = await create()
    await sh(box, 'echo 1 > /srv/f')
    const point = await box.checkpoint()
    const kids = keep(await point.fork(2))
    await the.daemon.kill()
    await the.daemon.start()
    const { dropped } = await box.promote(kids[1] as Sandbox, { drop: true })
    expect([...dropped].sort()).toEqual(idsOf(kids))
  })
})

it('can be done over and over, from round to round', { timeout: 300_000 }, async () => {
  const box = await create()
  const counter = await Counter.start(box)
  for (let round = 1; round <= 10; round++) {
    const kids = keep(await box.fork(4))
    const best = kids[round % kids.length] as Sandbox
    await Promise.all(kids.map((kid) => sh(kid, `echo ${kid.id} >> /srv/log`)))
    expect(await (await counter.in(best)).count()).toBe(round)
    const { dropped } = await box.promote(best, { drop: true })
    expect([...dropped].sort()).toEqual(idsOf(kids))
    expect((await sh(box, 'cat /srv/log')).trim().split('\n')).toHaveLength(round)
  }
  expect(await counter.count()).toBe(11)
  expect(await idsLeft()).toEqual([box.id])
})
