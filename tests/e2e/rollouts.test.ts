/** Many environments from one checkpoint of a worker with a large memory: every one is what its own episode has made of it. */
import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Asked, program } from '@deltabox/bench/inside'
import {
  type EpisodeResult,
  type PolicyContext,
  type RolloutOptions,
  Rollouts,
  type Step,
  StepTimeoutError,
} from '@deltabox/search'
import { type Checkpoint, type CheckpointOptions, DeltaBoxError, type ForkOptions, Sandbox } from 'deltabox'
import { describe, expect, it } from 'vitest'
import { cgroupsOf, Family } from '../cr/support/family.js'
import { enginesOf } from './support/engines.js'
import { useBoxes } from './support/use-boxes.js'

/** In earnest: 64 and 10. */
const SIZE = Number(process.env.DELTABOX_TEST_ROLLOUTS ?? 8)
const ROUNDS = Number(process.env.DELTABOX_TEST_ROUNDS ?? 2)
const MEGABYTES = 64
const STEPS = 5

const { the, create } = useBoxes()

/** What is not as it was at first, and where it is. */
interface World {
  readonly pages: Readonly<Record<string, number>>
  readonly files: Readonly<Record<string, string>>
}
interface Seen extends World {
  readonly namespace?: string
}
type Options = RolloutOptions<number, Seen>

const PRISTINE: World = { pages: {}, files: {} }

async function start(
  options: object = {},
  kept: CheckpointOptions = {},
): Promise<{ box: Sandbox; checkpoint: Checkpoint; worker: string }> {
  const box = await create(options)
  await box.files.write('/opt/environment.py', readFileSync(program('environment.py')))
  const handle = await box.commands.start(['python3', '/opt/environment.py', String(MEGABYTES)], {
    stdin: true,
  })
  for await (const piece of handle.stdout) if (piece.includes('ready')) break
  return { box, checkpoint: await box.checkpoint(kept), worker: handle.process }
}

type Ask = (box: Sandbox, question: string, ...more: unknown[]) => Promise<unknown>

/** What is done in the place of a step on page -1. */
type Deed = (box: Sandbox, ask: Ask, signal: AbortSignal) => Promise<unknown>

/** A worker in each sandbox is spoken to as long as all goes well. */
function functions(worker: string, deed?: Deed): Pick<Options, 'reset' | 'step'> {
  const known = new WeakMap<Sandbox, Asked>()
  const ask: Ask = async (box, question, ...more) => {
    const asked = known.get(box) ?? new Asked(await box.commands.connect(worker))
    known.set(box, asked)
    return JSON.parse(await asked.ask(question, ...more))
  }
  const look = async (box: Sandbox): Promise<World> => (await ask(box, 'look')) as World
  async function orForget<T>(box: Sandbox, work: Promise<T>): Promise<T> {
    return await work.catch((error) => {
      known.delete(box)
      throw error
    })
  }
  async function act(box: Sandbox, page: number, signal: AbortSignal): Promise<Step<Seen>> {
    if (page === -1) await deed?.(box, ask, signal)
    const { steps, namespace } = (await ask(box, 'act', page)) as { steps: number; namespace: string }
    const done = steps === STEPS
    const world = done ? await look(box) : PRISTINE
    return { observation: { ...world, namespace }, reward: page, done }
  }
  return {
    reset: (box) => orForget(box, look(box)),
    step: (box, page, { signal }) => orForget(box, act(box, page, signal)),
  }
}

/** Pages of its own for each episode. */
async function anyPage({ random }: PolicyContext): Promise<number> {
  await delay(random.below(10))
  return random.below(MEGABYTES * 256)
}

/** The world at its end is what its actions have made of it, from the one that there was at first. */
function expectWhole({ steps, error, done, reward }: EpisodeResult<number, Seen>): void {
  expect([error, done, steps.length]).toEqual([undefined, true, STEPS])
  expect(steps[0]?.before).toEqual(PRISTINE)
  const actions = steps.map(({ action }) => action)
  expect(reward).toBe(actions.reduce((sum, action) => sum + action, 0))
  const last = steps.at(-1)?.step.observation
  const pages = Object.fromEntries(actions.map((page, index) => [page, index + 1]))
  const files = Object.fromEntries(actions.map((page, index) => [page, String(index + 1)]))
  expect(last).toEqual({ pages, files, namespace: expect.stringMatching(/^pid:/) })
}

async function collect<T>(results: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const result of results) all.push(result)
  return all
}

async function sandboxes(): Promise<string[]> {
  return (await Sandbox.list({ client: the.client })).map(({ id }) => id)
}

/** Others may run sandboxes here, too. */
function mountsOf(directory: string): string[] {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  return mounts.filter((mount) => mount.includes(directory))
}

function descriptors(): number {
  return readdirSync(`/proc/${the.daemon.pid}/fd`).length
}

/** Of the sandbox the checkpoint was taken of, and of no other. */
async function expectNoOther(box: Sandbox): Promise<void> {
  expect(await sandboxes()).toEqual([box.id])
}

function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = (): void => undefined
  const promise = new Promise<void>((told) => {
    resolve = told
  })
  return { promise, resolve }
}

describe('rollouts', () => {
  it(`are each their own, ${SIZE} at a time, ${ROUNDS} times, and leave nothing`, {
    timeout: 3_600_000,
  }, async () => {
    const mounts = mountsOf(the.daemon.directory)
    const { box, checkpoint, worker } = await start()
    const family = new Family(the.daemon, box.id)
    const before: { templates: number; descriptors: number }[] = []
    for (let round = 0; round < ROUNDS; round++) {
      const began = performance.now()
      const rollouts = await Rollouts.from(checkpoint, { size: SIZE, concurrency: 8, ...functions(worker) })
      const forked = performance.now()
      const ids = rollouts.envs.map((env) => env.box.id)
      expect(new Set(ids).size).toBe(SIZE)
      // Those of the second time are played in sandboxes that have gone back.
      for (const seed of [2 * round, 2 * round + 1]) {
        const policy = (_: Seen, context: PolicyContext): Promise<number> => anyPage(context)
        const results = await collect(rollouts.run(policy, { episodes: SIZE, seed }))
        for (const result of results) expectWhole(result)
        expect(results.map(({ episode }) => episode).sort((a, b) => a - b)).toEqual([...Array(SIZE).keys()])
        expect(new Set(results.map(({ env }) => env)).size).toBe(SIZE)
        expect(new Set(results.map(({ steps }) => steps[0]?.step.observation.namespace)).size).toBe(SIZE)
      }
      const played = performance.now()
      const { failures, steps, occupation, fork, rollback, reset, step } = rollouts.report()
      expect([failures, steps, rollback.count]).toEqual([0, 2 * SIZE * STEPS, SIZE])
      await rollouts.close()
      await expectNoOther(box)
      expect(ids.flatMap(cgroupsOf)).toEqual([])
      before.push({ templates: family.templates().length, descriptors: descriptors() })
      const took = [forked - began, played - forked, performance.now() - played].map(Math.round)
      if (SIZE > 8) console.log(round, took, { occupation, fork, rollback, reset, step }, before.at(-1))
    }
    const [first] = before
    for (const { templates, descriptors: open } of before) {
      expect(templates).toBe(checkpoint.processes)
      expect(open).toBeLessThanOrEqual((first?.descriptors ?? 0) + 4)
    }
    await box.kill({ checkpoints: true })
    await expect.poll(() => [...enginesOf(the.daemon).values()]).not.toContain(family.engine)
    expect(mountsOf(the.daemon.directory)).toEqual(mounts)
  })

  it('play the same whatever the number of sandboxes, and are given as they finish', async () => {
    const { checkpoint, worker } = await start()
    const shapes: unknown[] = []
    for (const size of [1, 4]) {
      await using rollouts = await Rollouts.from(checkpoint, { size, concurrency: 2, ...functions(worker) })
      const over: number[] = []
      const another = deferred()
      const policy = async (_: Seen, context: PolicyContext): Promise<number> => {
        context.count({ inputTokens: 10, outputTokens: 1 })
        if (context.step === STEPS - 1 && context.episode === 0 && size > 1) await another.promise
        return await anyPage(context)
      }
      const results: EpisodeResult<number, Seen>[] = []
      for await (const result of rollouts.run(policy, { episodes: 6 })) {
        over.push(result.episode)
        results.push(result)
        another.resolve()
      }
      for (const result of results) expectWhole(result)
      if (size > 1) expect(over.indexOf(0)).toBeGreaterThan(0)
      const report = rollouts.report()
      expect(report).toMatchObject({ episodes: 6, failed: 0, steps: 6 * STEPS })
      expect(report.usage).toMatchObject({
        inputTokens: 60 * STEPS,
        outputTokens: 6 * STEPS,
        calls: 6 * STEPS,
      })
      results.sort((a, b) => a.episode - b.episode)
      shapes.push(results.map(({ episode, reward, steps }) => [episode, reward, steps.map((s) => s.action)]))
    }
    expect(shapes[1]).toEqual(shapes[0])
  })

  it('go back while policies are asked', async () => {
    const { checkpoint, worker } = await start()
    await using rollouts = await Rollouts.from(checkpoint, { size: 3, ...functions(worker) })
    const [asked, others] = [deferred(), deferred()]
    const policy = async (_: Seen, { episode, step }: PolicyContext): Promise<number> => {
      if (episode === 0) asked.resolve()
      await (episode === 0 && step === 0 ? others : asked).promise
      return step
    }
    const results: EpisodeResult<number, Seen>[] = []
    for await (const result of rollouts.run(policy, { episodes: 9 })) {
      if (results.push(result) < 8) continue
      const { rollback } = rollouts.report()
      if (results.length === 8)
        expect([rollback.count, rollback.ms - rollback.hiddenMs]).toEqual([6, expect.closeTo(0)])
      others.resolve()
    }
    for (const result of results) expectWhole(result)
    const { generationMs, exposedMs, occupation } = rollouts.report({ trainMs: 1000 })
    expect(occupation).toBeCloseTo((generationMs + 1000) / (generationMs + 1000 + exposedMs))
  })

  it('end when nobody looks any more, and can be run again', async () => {
    const { box, checkpoint, worker } = await start()
    await using rollouts = await Rollouts.from(checkpoint, { size: 3, ...functions(worker) })
    const policy = (_: Seen, context: PolicyContext): Promise<number> => anyPage(context)
    for await (const result of rollouts.run(policy, { episodes: 100 })) {
      expectWhole(result)
      if (result.episode >= 4) break
    }
    for await (const result of rollouts.run(policy, { episodes: 6, maxSteps: 2 })) {
      expect([result.error, result.done, result.steps.length]).toEqual([undefined, false, 2])
      expect(result.steps[0]?.before).toEqual(PRISTINE)
    }
    await rollouts.close()
    await expectNoOther(box)
  })
})

describe('one environment', () => {
  it('is reset, acted in and closed alone', async () => {
    const { box, checkpoint, worker } = await start()
    await using rollouts = await Rollouts.from(checkpoint, { size: 2, ...functions(worker) })
    const [one, other] = rollouts.envs
    if (!one || !other) throw new Error('two were asked for')
    await expect(one.step(3)).rejects.toThrow('environment 0 is to be reset first')
    for (let episode = 0; episode < 3; episode++) {
      expect(await one.reset()).toEqual(PRISTINE)
      await one.step(7)
      const [answer] = await Promise.allSettled([one.step(8), expect(one.step(9)).rejects.toThrow('is busy')])
      expect(answer.status).toBe('fulfilled')
    }
    await one.close()
    await expect(one.reset()).rejects.toThrow('environment 0 is closed')
    expect(await sandboxes()).toEqual([box.id, other.box.id])
    expect(await other.reset()).toEqual(PRISTINE)
  })
})

describe('a vector of environments', () => {
  it('begins anew where an episode is over, and what fails in one is told by its answer', async () => {
    const { checkpoint, worker } = await start()
    const dies = functions(worker, (box, ask) => ask(box, 'die'))
    await using rollouts = await Rollouts.from(checkpoint, { size: 3, ...dies })
    await expect(rollouts.step([1, 2, 3])).rejects.toThrow('is to be reset first')
    expect(await rollouts.reset()).toEqual([PRISTINE, PRISTINE, PRISTINE])
    await expect(rollouts.step([1])).rejects.toThrow('there are 1 actions for 3 environments')
    for (let at = 1; at < STEPS; at++) {
      const actions = await rollouts.generating(async (count) => {
        count({ outputTokens: 3 })
        return [at, at, at === 2 ? -1 : at]
      })
      const answers = await rollouts.step(actions)
      expect(answers.map(({ done, isFirst }) => [done, isFirst])).toEqual([
        [false, false],
        [false, false],
        [at === 2, at === 3],
      ])
      expect(answers[2]?.error === undefined).toBe(at !== 2)
      if (at === 3) expect(answers[2]?.observation).toEqual(PRISTINE)
    }
    const last = await rollouts.step([9, 9, 9])
    expect(last.map(({ done }) => done)).toEqual([true, true, false])
    const next = await rollouts.step([9, 9, 9])
    expect(next.map(({ isFirst, observation }) => [isFirst, isFirst && observation])).toEqual([
      [true, PRISTINE],
      [true, PRISTINE],
      [false, false],
    ])
    expect(rollouts.report()).toMatchObject({ episodes: 2, failed: 1, usage: { outputTokens: 12, calls: 4 } })
  })
})

const DEEDS: Readonly<Record<string, Deed>> = {
  throws: async () => {
    throw new Error('it does not want to')
  },
  hangs: (box, ask) => ask(box, 'hang'),
  'hangs and listens': async (box, _, signal) => await box.commands.run('sleep 1000', { signal }),
  'kills the worker': (box, ask) => ask(box, 'die'),
  'kills all there is': async (box) => {
    await box.commands.run('kill -9 -1')
    throw new Error('it is dead')
  },
  'fills the disk': async (box) => {
    const { signal } = await box.commands.run('cat /dev/zero > /srv/full')
    throw new Error(`it ended by ${signal}`)
  },
}

describe.each(Object.keys(DEEDS))('a step that %s', (name) => {
  it.each([0, 1])('fails its own episode alone, which is played again %i times', async (times) => {
    const { box, checkpoint, worker } = await start({ disk: '64m' })
    const wanted: number[] = []
    await using rollouts = await Rollouts.from(checkpoint, {
      ...functions(worker, DEEDS[name]),
      ...{ size: 3, limits: { stepMs: 3000, resetMs: 20_000 } },
      retries: (_, attempt) => attempt <= times,
    })
    const policy = async (_: Seen, context: PolicyContext): Promise<number> => {
      const page = await anyPage(context)
      if (context.episode !== 2 || context.step !== 3) return page
      wanted.push(context.env)
      return wanted.length === 1 ? -1 : page
    }
    const results = await collect(rollouts.run(policy, { episodes: 8 }))
    expect(results).toHaveLength(8)
    for (const result of results) {
      expect(result.attempts).toBe(result.episode === 2 ? times + 1 : 1)
      if (times === 1 || result.episode !== 2) expectWhole(result)
      else expect([result.steps.length, result.done, result.error]).toEqual([3, false, expect.any(Error)])
    }
    expect(await rollouts.reset()).toEqual([PRISTINE, PRISTINE, PRISTINE])
    const report = rollouts.report()
    expect(report).toMatchObject({ episodes: 7 + times, failed: 1 - times, failures: 1, retries: times })
    const failed = results.find(({ episode }) => episode === 2)
    if (times === 0) expect(failed?.error instanceof StepTimeoutError).toBe(name.startsWith('hangs'))
    expect(report.fork.count).toBe(name.startsWith('hangs') ? 2 : 1)
    await rollouts.close()
    await expectNoOther(box)
  })
})

describe('when the daemon is killed', () => {
  const policy = (_: Seen, context: PolicyContext): Promise<number> => anyPage(context)

  async function killed(afterMs: number): Promise<void> {
    await delay(afterMs)
    await the.daemon.kill()
    await delay(300)
    await the.daemon.start()
  }

  it('while they play, they go on', async () => {
    const { box, checkpoint, worker } = await start()
    await using rollouts = await Rollouts.from(checkpoint, { size: 6, ...functions(worker), retries: 0 })
    const results: EpisodeResult<number, Seen>[] = []
    const kills: Promise<void>[] = []
    for await (const result of rollouts.run(policy, { episodes: 24 })) {
      results.push(result)
      if (results.length === 6) kills.push(killed(0))
    }
    await Promise.all(kills)
    expect(results).toHaveLength(24)
    for (const result of results) expectWhole(result)
    expect(rollouts.report().interruptions).toBeGreaterThan(0)
    await rollouts.close()
    await expectNoOther(box)
  })

  it.each([5, 20, 35, 60])('while they are made, after %i ms, they are made once', async (afterMs) => {
    const { box, checkpoint, worker } = await start()
    await expect.poll(async () => (await Sandbox.getCheckpoint(checkpoint.id, the)).state).toBe('durable')
    const made = Rollouts.from(checkpoint, { size: 6, ...functions(worker), retries: 0 })
    const [opened] = await Promise.allSettled([made, killed(afterMs)])
    expect(opened).toMatchObject({ status: 'fulfilled' })
    await using rollouts = await made
    expect((await sandboxes()).sort()).toEqual(
      [box, ...rollouts.envs.map((env) => env.box)].map(({ id }) => id).sort(),
    )
    for (const result of await collect(rollouts.run(policy, { episodes: 6 }))) expectWhole(result)
    await rollouts.close()
    await expectNoOther(box)
  })

  it('while they are closed, they are closed when there is one again', async () => {
    const { box, checkpoint, worker } = await start()
    const rollouts = await Rollouts.from(checkpoint, { size: 2, ...functions(worker) })
    await rollouts.reset()
    await the.daemon.kill()
    const closed = rollouts.close()
    await delay(700)
    await the.daemon.start()
    await closed
    await expectNoOther(box)
  })

  /** The results of those that could not be brought back. */
  async function killEngineDuring(box: Sandbox, rollouts: Rollouts<number, Seen>): Promise<unknown[]> {
    const errors: unknown[] = []
    let finished = 0
    for await (const result of rollouts.run(policy, { episodes: 12 })) {
      if (result.error === undefined) expectWhole(result)
      else errors.push(result.error)
      finished += 1
      if (finished === 3) process.kill(new Family(the.daemon, box.id).engine, 'SIGKILL')
    }
    expect(finished).toBe(12)
    return errors
  }

  it('and the engine too, they come back from the disk', async () => {
    const { box, checkpoint, worker } = await start()
    await expect.poll(async () => (await Sandbox.getCheckpoint(checkpoint.id, the)).state).toBe('durable')
    await using rollouts = await Rollouts.from(checkpoint, { size: 3, retries: 4, ...functions(worker) })
    expect(await killEngineDuring(box, rollouts)).toEqual([])
    await rollouts.close()
    await expectNoOther(box)
  })

  it('and the engine too, a state that was in memory alone is lost, which is told', async () => {
    const { box, checkpoint, worker } = await start({}, { disk: false })
    await using rollouts = await Rollouts.from(checkpoint, { size: 3, retries: 4, ...functions(worker) })
    const errors = await killEngineDuring(box, rollouts)
    expect(errors).not.toEqual([])
    for (const error of errors) expect(error).toMatchObject({ name: 'StateLostError' })
    const more = Rollouts.from(checkpoint, { size: 2, ...functions(worker) })
    await expect(more).rejects.toThrow(`processes of ${checkpoint.id} are lost`)
    await rollouts.close()
    await expectNoOther(box)
  })
})

describe('no sandbox is left', () => {
  it('when they cannot all be made', async () => {
    const { box, checkpoint, worker } = await start()
    await expect(Rollouts.from(checkpoint, { size: 0, ...functions(worker) })).rejects.toThrow(RangeError)
    const one = await Rollouts.from(checkpoint, { size: 1, ...functions(worker) })
    await one.close()
    let forks = 0
    const fork = async ({ name = '' }: ForkOptions): Promise<Sandbox[]> => {
      forks += 1
      if (forks === 2) throw new DeltaBoxError('fork_failed', 'no room')
      return await checkpoint.fork({ count: 3, name })
    }
    const stranger = new Proxy(checkpoint, {
      get: (target, key) => (key === 'fork' ? fork : Reflect.get(target, key, target)),
    })
    await expect(Rollouts.from(stranger, { size: 6, ...functions(worker) })).rejects.toThrow('no room')
    await expectNoOther(box)
  })

  it.each([0, 5, 20, 60, 150])('when all is ended after %i ms', async (afterMs) => {
    const { box, checkpoint, worker } = await start()
    const stop = new AbortController()
    const reason = new Error('enough')
    const opened = Rollouts.from(checkpoint, { size: 4, signal: stop.signal, ...functions(worker) })
    const played = (async () => {
      const policy = (_: Seen, context: PolicyContext): Promise<number> => anyPage(context)
      for await (const result of (await opened).run(policy, { episodes: 1000 })) expectWhole(result)
    })()
    const ended = expect(played).rejects.toBe(reason)
    await delay(afterMs)
    stop.abort(reason)
    await ended
    await (await opened.catch(() => undefined))?.close()
    await expectNoOther(box)
    await expect(
      Rollouts.from(checkpoint, { size: 4, signal: stop.signal, ...functions(worker) }),
    ).rejects.toBe(reason)
  })
})

it('the example does what its document says', async () => {
  const example = fileURLToPath(new URL('../../examples/rollouts.ts', import.meta.url))
  const tsx = fileURLToPath(new URL('../../node_modules/.bin/tsx', import.meta.url))
  const env = { ...process.env, DELTABOX_URL: the.daemon.url }
  const { stdout } = await promisify(execFile)(tsx, [example], { env })
  expect(stdout).toMatch(/^8 episodes, 0 failed, occupation 0\.\d\d\n$/m)
  expect(await sandboxes()).toEqual([])
})
