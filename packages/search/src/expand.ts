/** One new node: its parent's state, an action there, a checkpoint of what came of it, and its worth. */
import type { Sandbox } from 'deltabox'
import { StateLostError } from './forks.js'
import { throughInterruptions } from './interruptions.js'
import { StepTimeoutError, within } from './limit.js'
import { masked } from './masked.js'
import type {
  Phase,
  SearchEvent,
  SearchOptions,
  StepContext,
  StepLimits,
  Value,
  ValueContext,
} from './options.js'
import { added, NO_TIMES, NO_USAGE, type NodeTimes, type NodeUsage, type Outcome } from './tree.js'
import type { Kept, Worker, Workers } from './workers.js'

type Context<A, O> = Omit<StepContext<A, O>, 'signal' | 'count'>
type Steps<A, O> = Pick<SearchOptions<A, O>, 'propose' | 'act' | 'evaluate' | 'judge' | 'limits'>

export interface Expansion<A, O> {
  readonly steps: Steps<A, O>
  readonly workers: Workers
  readonly context: Context<A, O>
  /** The checkpoint of what is expanded, once it is taken. */
  readonly from: () => Promise<string>
  readonly signal: AbortSignal
  readonly tell: (event: SearchEvent<A, O>) => void
}

export interface Expanded<A, O> {
  readonly outcome: Outcome<A, O>
  /** The checkpoint of the new state, which may still be taken; undefined where there is none. */
  readonly keeping: Promise<Kept & { readonly hiddenMs: number }> | undefined
}

/** What is done in the sandbox may fail in any way: that is a node that failed, and the search goes on. */
export async function expand<A, O>(expansion: Expansion<A, O>): Promise<Expanded<A, O>> {
  const { workers, context, signal, tell } = expansion
  const attempt = new Attempt(expansion)
  const make = (worker: Worker): Promise<Expanded<A, O>> =>
    attempt.make(worker).catch((error) => {
      if (error instanceof StepTimeoutError || signal.aborted) worker.giveUp()
      throw error
    })
  const interrupted = (reason: string): void => tell({ type: 'interrupted', id: context.id, reason })
  try {
    return await throughInterruptions(() => workers.use(make), signal, interrupted)
  } catch (error) {
    signal.throwIfAborted()
    if (error instanceof StateLostError) throw error
    return { outcome: attempt.failed(error), keeping: undefined }
  }
}

class Attempt<A, O> {
  readonly #expansion: Expansion<A, O>
  #times: NodeTimes = NO_TIMES
  #usage: NodeUsage = NO_USAGE
  /** A model that has answered is not asked again. */
  #action: A | null | undefined
  /** For the checkpoint. */
  #waitedMs = 0

  constructor(expansion: Expansion<A, O>) {
    this.#expansion = expansion
  }

  async make(worker: Worker): Promise<Expanded<A, O>> {
    const { context, signal } = this.#expansion
    const action = await this.#proposeAt(worker)
    if (action === null) return { outcome: this.#outcome({ status: 'done' }), keeping: undefined }
    const observation = await this.#act(worker, action)
    const keeping = worker.keep(`node ${context.id}`, signal)
    keeping.catch(() => undefined)
    const worth = await this.#worth(worker, { action, observation }, keeping)
    const { value, done = false } = typeof worth === 'object' ? worth : { value: worth ?? null }
    const known = { action, observation, value, status: done ? 'done' : 'open' } as const
    return { outcome: this.#outcome(known), keeping: keeping.then((kept) => this.#noted(kept)) }
  }

  failed(error: unknown): Outcome<A, O> {
    const message = error instanceof Error ? error.message : String(error)
    return this.#outcome({ action: this.#action ?? null, status: 'failed', error: message || 'it failed' })
  }

  /** While the model thinks the sandbox goes to the state that it thinks about. */
  async #proposeAt(worker: Worker): Promise<A | null> {
    const { steps, from } = this.#expansion
    const ask = async (): Promise<A | null> => {
      if (this.#action === undefined) {
        this.#action = await this.#timed('propose', steps.limits?.proposeMs, (own) => steps.propose(own))
      }
      return this.#action
    }
    const { answer, result, workMs, hiddenMs } = await masked(ask, async () => worker.goTo(await from()))
    this.#add({ goTo: workMs, goToHidden: hiddenMs, rollback: result.rollbackMs })
    return answer
  }

  async #act(worker: Worker, action: A): Promise<O> {
    const { steps } = this.#expansion
    worker.touch()
    return await this.#timed('act', steps.limits?.actMs, (own) => steps.act(worker.box, action, own))
  }

  /** Tests come behind the checkpoint: whatever they leave is gone when the sandbox is used next. A model need not wait for it. */
  async #worth(
    worker: Worker,
    made: Pick<ValueContext<A, O>, 'action' | 'observation'>,
    keeping: Promise<Kept>,
  ): Promise<Value | undefined> {
    const { evaluate, judge } = this.#expansion.steps
    const judged = judge && (await this.#value((context) => judge({ ...context, ...made })))
    if (!evaluate) return judged
    const started = performance.now()
    await keeping
    this.#waitedMs = performance.now() - started
    worker.touch()
    const box: Sandbox = worker.box
    return await this.#value((context) => evaluate(box, { ...context, ...made }))
  }

  #noted(kept: Kept): Kept & { readonly hiddenMs: number } {
    return { ...kept, hiddenMs: Math.max(0, kept.ms - this.#waitedMs) }
  }

  #value(step: (context: StepContext<A, O>) => Promise<Value>): Promise<Value> {
    return this.#timed('evaluate', this.#expansion.steps.limits?.evaluateMs, step)
  }

  async #timed<T>(
    phase: Phase,
    limitMs: StepLimits[keyof StepLimits],
    step: (context: StepContext<A, O>) => Promise<T>,
  ): Promise<T> {
    const { context, signal, tell } = this.#expansion
    tell({ type: 'phase', id: context.id, phase })
    const started = performance.now()
    const count = (usage: Partial<NodeUsage>): void => {
      this.#usage = added(this.#usage, usage)
    }
    try {
      return await within(phase, limitMs, signal, (own) => step({ ...context, signal: own, count }))
    } finally {
      this.#add({ [phase]: performance.now() - started })
    }
  }

  #add(times: Partial<NodeTimes>): void {
    const names = Object.keys(times) as (keyof NodeTimes)[]
    const added = names.map((name) => [name, this.#times[name] + (times[name] ?? 0)])
    this.#times = { ...this.#times, ...Object.fromEntries(added) }
  }

  #outcome(known: Pick<Outcome<A, O>, 'status'> & Partial<Outcome<A, O>>): Outcome<A, O> {
    const { id, path } = this.#expansion.context
    return {
      ...{ id, parent: path.at(-1)?.id ?? 0, action: null, observation: null, checkpoint: null },
      ...{ error: null, value: null, times: this.#times, usage: this.#usage },
      ...known,
    }
  }
}
