/**
 * Whatever is done to a tree of states, in whatever order and whoever is killed meanwhile: each state that is there is exactly what it was.
 * `DELTABOX_TEST_OPERATIONS` says how many operations, `DELTABOX_TEST_SEED` which.
 */
import { type Checkpoint, type DeltaBoxError, Sandbox } from 'deltabox'
import { expect, it } from 'vitest'
import { enginesOf } from '../e2e/support/engines.js'
import { useDaemon } from '../e2e/support/use-daemon.js'
import { Churn } from './support/churn.js'
import { random } from './support/random.js'

const OPERATIONS = Number(process.env.DELTABOX_TEST_OPERATIONS ?? '40')
const SEED = Number(process.env.DELTABOX_TEST_SEED ?? Date.now() % 1_000_000)
const MOST_CHECKPOINTS = 12
const MOST_SANDBOXES = 4
/** Room for a few: what is gone back to is now in memory, now on disk. */
const the = useDaemon({ DELTABOX_POOL_BYTES: String(24 << 20), DELTABOX_MERGE_DEPTH: '6' })
interface State {
  readonly checkpoint: Checkpoint
  readonly digest: number
}

class World {
  readonly dice: () => number
  readonly done: string[] = []
  workers: Churn[] = []
  states: State[] = []
  step = 0

  constructor(seed: number) {
    this.dice = random(seed)
  }

  pick<T>(list: readonly T[]): T {
    const one = list[Math.floor(this.dice() * list.length)]
    if (one === undefined) throw new Error('there is nothing to pick')
    return one
  }

  async look({ checkpoint }: State): Promise<Checkpoint> {
    return await Sandbox.getCheckpoint(checkpoint.id, { client: the.client })
  }

  async checkpoint(worker: Churn): Promise<void> {
    const digest = await worker.digest()
    this.states.push({ digest, checkpoint: await worker.box.checkpoint() })
  }

  async leave(worker: Churn): Promise<void> {
    await worker.box.kill()
    this.workers = this.workers.filter((one) => one !== worker)
  }

  /** Sandboxes and streams of a daemon or an engine that is gone are found again. */
  async reconnect(): Promise<void> {
    const { sandboxes } = (await the.daemon.get('/v1/sandboxes')).json as {
      sandboxes: { id: string; state: string }[]
    }
    const process = this.workers[0]?.process ?? ''
    const workers: Churn[] = []
    for (const { id, state } of sandboxes) {
      const box = await Sandbox.connect(id, { client: the.client })
      if (state === 'dead') await box.rollback(this.pick(this.states).checkpoint)
      workers.push(await Churn.in(box, process))
    }
    this.workers = workers
  }

  /** In a sandbox of its own. */
  async verify(state: State): Promise<void> {
    const [kid] = await state.checkpoint.fork(1)
    if (!kid) throw new Error('nothing was forked')
    const worker = await Churn.in(kid, this.workers[0]?.process ?? '')
    expect(await worker.digest(), state.checkpoint.id).toBe(state.digest)
    await kid.kill({ checkpoints: true })
  }
}

const operations: Readonly<Record<string, (world: World) => Promise<void>>> = {
  run: async (world) => {
    await world.pick(world.workers).step(++world.step)
  },
  checkpoint: async (world) => {
    if (world.states.length < MOST_CHECKPOINTS) await world.checkpoint(world.pick(world.workers))
  },
  'run and checkpoint': async (world) => {
    const worker = world.pick(world.workers)
    await worker.step(++world.step)
    if (world.states.length < MOST_CHECKPOINTS) await world.checkpoint(worker)
  },
  rollback: async (world) => {
    const { box, process } = world.pick(world.workers)
    const state = world.pick(world.states)
    await box.rollback(state.checkpoint)
    const worker = world.workers.find((one) => one.box === box)
    expect(await worker?.digest(), `${box.id} ${process}`).toBe(state.digest)
  },
  'fork of a checkpoint': async (world) => {
    if (world.workers.length >= MOST_SANDBOXES) return
    const state = world.pick(world.states)
    const [kid] = await state.checkpoint.fork(1)
    if (!kid) throw new Error('nothing was forked')
    const worker = await Churn.in(kid, world.workers[0]?.process ?? '')
    expect(await worker.digest()).toBe(state.digest)
    world.workers.push(worker)
  },
  'fork of a sandbox': async (world) => {
    if (world.workers.length >= MOST_SANDBOXES) return
    const worker = world.pick(world.workers)
    const digest = await worker.digest()
    const [kid] = await worker.box.fork(1)
    if (!kid) throw new Error('nothing was forked')
    const other = await Churn.in(kid, worker.process)
    expect(await other.digest()).toBe(digest)
    world.workers.push(other)
  },
  promote: async (world) => {
    const [one, other] = [world.pick(world.workers), world.pick(world.workers)]
    if (one === other) return
    const digest = await other.digest()
    await one.box.promote(other.box)
    expect(await one.digest()).toBe(digest)
  },
  'remove a sandbox': async (world) => {
    if (world.workers.length > 1) await world.leave(world.pick(world.workers))
  },
  'delete a checkpoint': async (world) => {
    if (world.states.length < 3) return
    const state = world.pick(world.states)
    await state.checkpoint.delete()
    world.states = world.states.filter((one) => one !== state)
  },
  prune: async (world) => {
    if (world.states.length < 6) return
    const kept = world.states.filter(() => world.dice() < 0.6)
    const keep = [...kept, world.pick(world.states)].map(({ checkpoint }) => checkpoint.id)
    const { removed } = await world.pick(world.workers).box.prune({ family: true, keep })
    for (const id of keep) expect(removed).not.toContain(id)
    world.states = world.states.filter(({ checkpoint }) => !removed.includes(checkpoint.id))
  },
  'kill the daemon': async (world) => {
    await the.daemon.kill()
    await the.daemon.start()
    await world.reconnect()
  },
  'kill the engine': async (world) => {
    const before = await Promise.all(world.states.map((state) => world.look(state)))
    for (const engine of enginesOf(the.daemon).values()) process.kill(engine, 'SIGKILL')
    const boxes = async (): Promise<string[]> =>
      (await the.daemon.get('/v1/sandboxes')).json.sandboxes.map(({ state }: { state: string }) => state)
    await expect.poll(async () => (await boxes()).every((state) => state === 'dead')).toBe(true)
    const left: State[] = []
    for (const [index, state] of world.states.entries()) {
      const { state: now, lost } = await world.look(state)
      // What was durable is there; of the others what had reached the disk in time.
      if (before[index]?.state === 'durable') expect([now, lost]).toEqual(['durable', 0])
      if (now === 'failed') await state.checkpoint.delete()
      else left.push(state)
    }
    world.states = left
    await world.reconnect()
  },
}

it(`is what it was after each of ${OPERATIONS} operations (seed ${SEED})`, {
  timeout: 7_200_000,
}, async () => {
  const world = new World(SEED)
  const first = await Churn.start(the.client, 6)
  world.workers.push(first)
  await first.step(++world.step)
  await world.checkpoint(first)
  await expect
    .poll(async () => (await world.look(world.pick(world.states))).state, { timeout: 10_000 })
    .toBe('durable')
  const names = Object.keys(operations)
  for (let count = 0; count < OPERATIONS; count++) {
    const name = world.pick(names)
    world.done.push(name)
    try {
      await operations[name]?.(world)
      for (const state of OPERATIONS > 100 ? world.states : world.states.slice(-3)) await world.verify(state)
    } catch (error) {
      const { code } = error as DeltaBoxError
      throw new Error(
        `seed ${SEED}, after ${world.done.length} (${world.done.slice(-8).join(', ')}): ${code ?? ''}`,
        {
          cause: error,
        },
      )
    }
  }
  for (const state of world.states) await world.verify(state)
})
