/** What takes how long, and how much of it somebody waited for. */
import { added, NO_USAGE, type NodeUsage } from '../tree.js'
import type { RolloutReport, WorkTimes } from './options.js'

export type Work = 'fork' | 'rollback' | 'reset' | 'step'

export interface Counts {
  episodes: number
  failed: number
  steps: number
  failures: number
  retries: number
  interruptions: number
}

const NOTHING: WorkTimes = { count: 0, ms: 0, hiddenMs: 0 }

/**
 * How much of the time models are at work, in reinforcement learning where each batch is generated, then trained on. Sandboxes
 * count with the time that models stood still for them.
 */
export function occupation(times: {
  readonly generationMs: number
  readonly exposedMs: number
  readonly trainMs?: number
}): number {
  const { generationMs, exposedMs, trainMs = 0 } = times
  const busy = generationMs + trainMs
  return busy + exposedMs === 0 ? 1 : busy / (busy + exposedMs)
}

export class Meter {
  readonly counts: Counts = {
    ...{ episodes: 0, failed: 0, steps: 0 },
    ...{ failures: 0, retries: 0, interruptions: 0 },
  }
  readonly #now: () => number
  readonly #works: Record<Work, WorkTimes> = {
    ...{ fork: NOTHING, rollback: NOTHING },
    ...{ reset: NOTHING, step: NOTHING },
  }
  #usage = NO_USAGE
  /** How many policies are asked, and how many wait for sandboxes, since when. */
  #asked = 0
  #waiting = 0
  #since: number
  #generationMs = 0
  #exposedMs = 0
  #policyMs = 0

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
    this.#since = now()
  }

  /** Gives the milliseconds, too. */
  async generating<T>(work: () => Promise<T>, tell: (ms: number) => void = () => undefined): Promise<T> {
    const started = this.#settle()
    this.#asked += 1
    try {
      return await work()
    } finally {
      const ms = this.#settle() - started
      this.#asked -= 1
      this.#policyMs += ms
      tell(ms)
    }
  }

  /** Whatever is done for it, somebody waits for it. */
  async waiting<T>(work: () => Promise<T>): Promise<T> {
    this.#settle()
    this.#waiting += 1
    try {
      return await work()
    } finally {
      this.#settle()
      this.#waiting -= 1
    }
  }

  /** The work begins. It is told what it was when it ends, and tells how long it took. */
  start(): (work: Work) => number {
    const started = this.#settle()
    const exposedBefore = this.#exposedMs
    return (work) => {
      const ms = this.#settle() - started
      const hidden = ms - (this.#exposedMs - exposedBefore)
      const { count, ms: earlier, hiddenMs } = this.#works[work]
      this.#works[work] = { count: count + 1, ms: earlier + ms, hiddenMs: hiddenMs + hidden }
      return ms
    }
  }

  count(usage: Partial<NodeUsage>): void {
    this.#usage = added(this.#usage, usage)
  }

  report(trainMs: number): RolloutReport {
    this.#settle()
    const { fork, rollback, reset, step } = this.#works
    const [generationMs, exposedMs] = [this.#generationMs, this.#exposedMs]
    return {
      ...this.counts,
      ...{ fork, rollback, reset, step },
      sandboxMs: fork.ms + rollback.ms + reset.ms + step.ms,
      policyMs: this.#policyMs,
      ...{ generationMs, exposedMs, trainMs },
      occupation: occupation({ generationMs, exposedMs, trainMs }),
      usage: this.#usage,
    }
  }

  /** Before anything changes. Gives the time. */
  #settle(): number {
    const now = this.#now()
    const passed = now - this.#since
    this.#since = now
    if (this.#asked > 0) this.#generationMs += passed
    else if (this.#waiting > 0) this.#exposedMs += passed
    return now
  }
}
