/** Many environments from one checkpoint, for reinforcement learning and for sampling. */
import { setMaxListeners } from 'node:events'
import type { Checkpoint } from 'deltabox'
import { Forks } from '../forks.js'
import type { NodeUsage } from '../tree.js'
import { Worker } from '../workers.js'
import { Environment, type Ground } from './environment.js'
import { Finished } from './finished.js'
import { Meter } from './meter.js'
import type {
  EpisodeResult,
  Policy,
  RolloutOptions,
  RolloutReport,
  RunOptions,
  SandboxEnv,
  VectorStep,
} from './options.js'
import { persevere } from './persevere.js'
import { type Plan, play } from './play.js'
import { Slots } from './slots.js'

const DEFAULT_CONCURRENCY = 8
const DEFAULT_RETRIES = 1
/** In one call: as many as an engine makes ready ahead of need. */
const FORKED_TOGETHER = 64

export class Rollouts<Action, Observation> {
  readonly #envs: Environment<Action, Observation>[] = []
  readonly #ground: Ground<Action, Observation>
  readonly #forks: Forks
  readonly #closing = new AbortController()
  readonly #outer: AbortSignal | undefined
  readonly #stop = (): void => {
    // What it throws is thrown again to whoever closes.
    this.close(this.#outer?.reason).catch(() => undefined)
  }
  #opening: Promise<void> = Promise.resolve()
  #closed: Promise<void> | undefined
  #isRunning = false

  private constructor(start: Checkpoint, options: RolloutOptions<Action, Observation>) {
    const { concurrency = DEFAULT_CONCURRENCY, retries = DEFAULT_RETRIES, reset, step, limits } = options
    const [slots, meter, { signal }] = [new Slots(concurrency), new Meter(), this.#closing]
    this.#ground = { start, retries, slots, meter, signal, reset, step, ...(limits && { limits }) }
    this.#forks = new Forks(start)
    setMaxListeners(0, signal)
    this.#outer = options.signal
    this.#outer?.addEventListener('abort', this.#stop, { once: true })
  }

  /** All of the sandboxes or, with an error, none. The checkpoint is to stay as long as they do. */
  static async from<A, O>(start: Checkpoint, options: RolloutOptions<A, O>): Promise<Rollouts<A, O>> {
    const { size, concurrency = DEFAULT_CONCURRENCY, signal } = options
    for (const [name, value] of Object.entries({ size, concurrency })) {
      if (!Number.isInteger(value) || value < 1) throw new RangeError(`${name} is ${value}, not 1 or more`)
    }
    signal?.throwIfAborted()
    const rollouts = new Rollouts(start, options)
    rollouts.#opening = rollouts.#ground.meter.waiting(() => rollouts.#fork(size))
    try {
      await rollouts.#opening
      return rollouts
    } catch (error) {
      await rollouts.close()
      throw error
    }
  }

  /** Each for itself. What is asked of them alone must not be asked by `step` or `run` at the same time. */
  get envs(): readonly SandboxEnv<Action, Observation>[] {
    return this.#envs
  }

  /** Of all environments, each in the state of the checkpoint. */
  async reset(): Promise<Observation[]> {
    return await all(this.#envs.map((env) => env.reset()))
  }

  /**
   * One action for each environment. One whose episode is over takes none but begins the next (`isFirst`), for which it has gone
   * back already. What fails in one is told by its answer: that episode is over.
   */
  async step(actions: readonly Action[]): Promise<VectorStep<Observation>[]> {
    if (actions.length !== this.#envs.length) {
      throw new RangeError(`there are ${actions.length} actions for ${this.#envs.length} environments`)
    }
    return await all(this.#envs.map((env, index) => env.next(actions[index] as Action)))
  }

  /**
   * Plays episodes and gives each as soon as it is over, whichever is first. They go on while a result is looked at; whoever stops
   * looking ends them.
   */
  async *run(
    policy: Policy<Action, Observation>,
    options: RunOptions,
  ): AsyncGenerator<EpisodeResult<Action, Observation>, void, void> {
    if (this.#isRunning) throw new Error('a run is under way')
    this.#isRunning = true
    const stop = new AbortController()
    setMaxListeners(0, stop.signal)
    const { signal } = this.#closing
    const pass = (): void => stop.abort(signal.reason)
    signal.addEventListener('abort', pass)
    const finished = new Finished<EpisodeResult<Action, Observation>>()
    const playing = this.#playAll({ ...options, policy, signal: stop.signal, ground: this.#ground }, finished)
    try {
      yield* finished
    } finally {
      stop.abort()
      await playing
      signal.removeEventListener('abort', pass)
      this.#isRunning = false
    }
  }

  /** Where no policy is run: what it takes counts as generation. */
  async generating<T>(work: (count: (usage: Partial<NodeUsage>) => void) => Promise<T>): Promise<T> {
    const { meter } = this.#ground
    return await meter.generating(() => work((usage) => meter.count(usage)))
  }

  /** From the beginning until now. `trainMs`: what training took while nothing was generated. */
  report({ trainMs = 0 }: { readonly trainMs?: number } = {}): RolloutReport {
    return this.#ground.meter.report(trainMs)
  }

  /** Removes the sandboxes. What is under way in them is given up, for this reason. One that failed can be tried again. */
  close(reason: unknown = new Error('the rollouts are closed')): Promise<void> {
    this.#closed ??= this.#close(reason).catch((error) => {
      this.#closed = undefined
      throw error
    })
    return this.#closed
  }

  /** `await using` closes them at the end of its block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(reason: unknown): Promise<void> {
    this.#outer?.removeEventListener('abort', this.#stop)
    this.#closing.abort(reason)
    await Promise.allSettled([this.#opening])
    await all(this.#envs.map((env) => env.close()))
    const patience = { retries: 0, signal: new AbortController().signal, counts: this.#ground.meter.counts }
    await persevere(patience, () => this.#forks.removeUnanswered())
  }

  async #fork(size: number): Promise<void> {
    const { meter, signal } = this.#ground
    const patience = { retries: 0, signal, counts: meter.counts }
    while (this.#envs.length < size) {
      const count = Math.min(FORKED_TOGETHER, size - this.#envs.length)
      const end = meter.start()
      const boxes = await persevere(patience, () => this.#forks.make(count))
      end('fork')
      for (const box of boxes) {
        const worker = new Worker(this.#forks, box)
        this.#envs.push(new Environment(this.#envs.length, worker, this.#ground))
      }
    }
    await persevere(patience, () => this.#forks.expectWhole())
  }

  async #playAll(
    plan: Plan<Action, Observation> & Pick<RunOptions, 'episodes'>,
    finished: Finished<EpisodeResult<Action, Observation>>,
  ): Promise<void> {
    let next = 0
    const playIn = async (env: Environment<Action, Observation>): Promise<void> => {
      while (next < plan.episodes && !env.isClosed) {
        const episode = next++
        finished.push(await env.occupy(() => play(env, episode, plan)))
      }
    }
    try {
      await all(this.#envs.map(playIn))
      if (next < plan.episodes) throw new Error('all environments are closed')
      for (const env of this.#envs) env.prepare()
      finished.end()
    } catch (error) {
      finished.fail(error)
    }
  }
}

/** Ends when all have; then throws what the first that failed has thrown. */
async function all<T>(works: readonly Promise<T>[]): Promise<T[]> {
  const settled = await Promise.allSettled(works)
  return settled.map((one) => {
    if (one.status === 'rejected') throw one.reason
    return one.value
  })
}
