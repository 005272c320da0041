/** One episode from its beginning to its end, again where it failed. */
import { within } from '../limit.js'
import { Random, seedFor } from '../random.js'
import { added, NO_USAGE, type NodeUsage } from '../tree.js'
import type { Environment, Ground } from './environment.js'
import type { EpisodeResult, EpisodeTimes, Policy, RunOptions, Transition } from './options.js'
import { persevere } from './persevere.js'

export interface Plan<A, O> extends Pick<RunOptions, 'maxSteps' | 'seed'> {
  readonly policy: Policy<A, O>
  readonly ground: Ground<A, O>
  /** Aborted when nobody wants the results any more. */
  readonly signal: AbortSignal
}

const DEFAULT_SEED = 1

/** Throws only when aborted. */
export async function play<A, O>(
  env: Environment<A, O>,
  episode: number,
  plan: Plan<A, O>,
): Promise<EpisodeResult<A, O>> {
  const { signal, ground } = plan
  const { counts } = ground.meter
  const player = new Player(env, episode, plan)
  try {
    await persevere({ retries: ground.retries, signal, counts }, (attempt) => player.attempt(attempt))
    counts.episodes += 1
    return player.result()
  } catch (error) {
    signal.throwIfAborted()
    counts.failed += 1
    return { ...player.result(), done: false, error }
  } finally {
    ground.meter.count(player.usage)
  }
}

class Player<A, O> {
  usage: NodeUsage = NO_USAGE
  readonly #env: Environment<A, O>
  readonly #episode: number
  readonly #plan: Plan<A, O>
  readonly #started = performance.now()
  readonly #before: Environment<A, O>['spent']
  #attempts = 0
  #steps: Transition<A, O>[] = []
  #generationMs = 0

  constructor(env: Environment<A, O>, episode: number, plan: Plan<A, O>) {
    this.#env = env
    this.#episode = episode
    this.#plan = plan
    this.#before = { ...env.spent }
  }

  async attempt(number: number): Promise<void> {
    const { maxSteps = Number.POSITIVE_INFINITY, seed = DEFAULT_SEED, signal } = this.#plan
    this.#attempts = number
    this.#steps = []
    const random = new Random(seedFor(seed, this.#episode))
    let observation: O = await this.#env.begin(signal)
    while (this.#steps.length < maxSteps) {
      const action = await this.#ask(observation, random)
      const step = await this.#env.act(action, signal)
      this.#steps.push({ before: observation, action, step })
      if (step.done) return
      observation = step.observation
    }
  }

  async #ask(observation: O, random: Random): Promise<A> {
    const { policy, ground, signal } = this.#plan
    const context = {
      ...{ env: this.#env.index, episode: this.#episode, step: this.#steps.length, random },
      count: (usage: Partial<NodeUsage>) => {
        this.usage = added(this.usage, usage)
      },
    }
    const asked = (): Promise<A> =>
      within('the policy', ground.limits?.policyMs, signal, (own) =>
        policy(observation, { ...context, signal: own }),
      )
    return await ground.meter.generating(asked, (ms) => {
      this.#generationMs += ms
    })
  }

  result(): EpisodeResult<A, O> {
    return {
      ...{ env: this.#env.index, episode: this.#episode, steps: this.#steps },
      reward: this.#steps.reduce((sum, { step }) => sum + step.reward, 0),
      done: this.#steps.at(-1)?.step.done ?? false,
      ...{ attempts: this.#attempts, times: this.#times(), usage: this.usage },
    }
  }

  #times(): EpisodeTimes {
    const [now, before] = [this.#env.spent, this.#before]
    return {
      wallMs: performance.now() - this.#started,
      rollbackMs: now.rollback - before.rollback,
      resetMs: now.reset - before.reset,
      stepMs: now.step - before.step,
      generationMs: this.#generationMs,
    }
  }
}
