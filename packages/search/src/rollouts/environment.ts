/** One environment: a sandbox that goes back to the checkpoint for each episode. */
import type { Checkpoint, Sandbox } from 'deltabox'
import { StepTimeoutError, within } from '../limit.js'
import type { Worker } from '../workers.js'
import type { Meter } from './meter.js'
import type { EnvContext, RetryRule, RolloutOptions, SandboxEnv, Step, VectorStep } from './options.js'
import { persevere } from './persevere.js'
import type { Slots } from './slots.js'

/** What the environments have in common. */
export interface Ground<A, O> extends Pick<RolloutOptions<A, O>, 'reset' | 'step' | 'limits'> {
  readonly start: Checkpoint
  readonly retries: RetryRule
  readonly slots: Slots
  readonly meter: Meter
  /** Aborted when all of them are closed. */
  readonly signal: AbortSignal
}

export class Environment<A, O> implements SandboxEnv<A, O> {
  readonly index: number
  /** Milliseconds. */
  readonly spent: Record<'rollback' | 'reset' | 'step', number> = { rollback: 0, reset: 0, step: 0 }
  readonly #ground: Ground<A, O>
  readonly #worker: Worker
  #isPlaying = false
  #isClosed = false
  #last: { readonly observation: O } | undefined
  #preparing: Promise<void> = Promise.resolve()
  #isBusy = false
  #occupied: Promise<unknown> = Promise.resolve()

  constructor(index: number, worker: Worker, ground: Ground<A, O>) {
    this.index = index
    this.#worker = worker
    this.#ground = ground
  }

  get box(): Sandbox {
    return this.#worker.box
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  reset(): Promise<O> {
    return this.occupy(() => this.#resetByRule())
  }

  step(action: A): Promise<Step<O>> {
    return this.occupy(() => this.#counted(() => this.act(action, this.#ground.signal)))
  }

  /** As one of a vector: begins when the episode before is over, and tells what failed instead of throwing it. */
  next(action: A): Promise<VectorStep<O>> {
    return this.occupy(async () => {
      const last = this.#last
      if (!last) throw this.#fault('is to be reset first')
      try {
        if (!this.#isPlaying) {
          return { observation: await this.#resetByRule(), reward: 0, done: false, isFirst: true }
        }
        return { ...(await this.#counted(() => this.act(action, this.#ground.signal))), isFirst: false }
      } catch (error) {
        this.#ground.signal.throwIfAborted()
        return { observation: last.observation, reward: 0, done: true, isFirst: false, error }
      }
    })
  }

  /** What is under way in it comes to its end first. */
  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.allSettled([this.#occupied, this.#preparing])
    const { slots, meter } = this.#ground
    const patience = { retries: 0, signal: new AbortController().signal, counts: meter.counts }
    await slots.use(() => persevere(patience, () => this.#worker.close()))
  }

  /** One thing at a time. */
  async occupy<T>(work: () => Promise<T>): Promise<T> {
    this.#ground.signal.throwIfAborted()
    if (this.#isClosed) throw this.#fault('is closed')
    if (this.#isBusy) throw this.#fault('is busy')
    this.#isBusy = true
    const working = work().finally(() => {
      this.#isBusy = false
    })
    this.#occupied = working
    return await working
  }

  /** An episode, in the state of the checkpoint. Tried once. */
  async begin(signal: AbortSignal): Promise<O> {
    this.#isPlaying = false
    return await this.#ground.meter.waiting(async () => {
      await this.#preparing
      await this.#goBack()
      const observation = await this.#inside('reset', signal, (box, context) =>
        this.#ground.reset(box, context),
      )
      this.#isPlaying = true
      this.#last = { observation }
      return observation
    })
  }

  async act(action: A, signal: AbortSignal): Promise<Step<O>> {
    if (!this.#isPlaying) throw this.#fault('is to be reset first')
    const { meter, step } = this.#ground
    try {
      const taken = await meter.waiting(() =>
        this.#inside('step', signal, (box, context) => step(box, action, context)),
      )
      meter.counts.steps += 1
      this.#last = taken
      this.#isPlaying = !taken.done
      return taken
    } catch (error) {
      this.#isPlaying = false
      throw error
    }
  }

  /** Goes back, though no episode is asked for yet. */
  prepare(): void {
    this.#isPlaying = false
    if (this.#isClosed) return
    // What fails is tried again when an episode begins, which tells.
    this.#preparing = this.#preparing.then(() => this.#goBack()).catch(() => undefined)
  }

  async #resetByRule(): Promise<O> {
    const { retries, signal, meter } = this.#ground
    return await persevere({ retries, signal, counts: meter.counts }, () => this.begin(signal))
  }

  /** An episode that is played by others than `play`. */
  async #counted(work: () => Promise<Step<O>>): Promise<Step<O>> {
    const { counts } = this.#ground.meter
    try {
      const step = await work()
      if (step.done) counts.episodes += 1
      return step
    } catch (error) {
      counts.failures += 1
      counts.failed += 1
      throw error
    } finally {
      if (!this.#isPlaying) this.prepare()
    }
  }

  async #goBack(): Promise<void> {
    const { slots, meter, signal, start } = this.#ground
    await slots.use(async () => {
      signal.throwIfAborted()
      const end = meter.start()
      const { way } = await this.#worker.goTo(start.id)
      if (way !== 'none') this.spent.rollback += end(way)
    })
  }

  async #inside<T>(
    what: 'reset' | 'step',
    signal: AbortSignal,
    work: (box: Sandbox, context: EnvContext) => Promise<T>,
  ): Promise<T> {
    const { slots, meter, limits } = this.#ground
    return await slots.use(async () => {
      signal.throwIfAborted()
      const end = meter.start()
      this.#worker.touch()
      try {
        const own = (inner: AbortSignal): EnvContext => ({ env: this.index, signal: inner })
        const { box } = this.#worker
        return await within(what, limits?.[`${what}Ms`], signal, (inner) => work(box, own(inner)))
      } catch (error) {
        if (error instanceof StepTimeoutError || signal.aborted) this.#worker.giveUp()
        throw error
      } finally {
        this.spent[what] += end(what)
      }
    })
  }

  #fault(what: string): Error {
    return new Error(`environment ${this.index} ${what}`)
  }
}
