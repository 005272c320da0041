/** What is tried again: what an interruption has cut short, and what failed as often as a rule allows. */
import { StateLostError } from '../forks.js'
import { throughInterruptions } from '../interruptions.js'
import type { Counts } from './meter.js'
import type { RetryRule } from './options.js'

export interface Patience {
  readonly retries: RetryRule
  readonly signal: AbortSignal
  readonly counts: Counts
}

/** Interruptions are no attempts. */
export async function persevere<T>(
  { retries, signal, counts }: Patience,
  work: (attempt: number) => Promise<T>,
): Promise<T> {
  const interrupted = (): void => {
    counts.interruptions += 1
  }
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted()
    try {
      return await throughInterruptions(() => work(attempt), signal, interrupted)
    } catch (error) {
      signal.throwIfAborted()
      counts.failures += 1
      if (!isToBeRetried(retries, error, attempt)) throw error
      counts.retries += 1
    }
  }
}

/** What is lost stays lost, whatever the rule. */
function isToBeRetried(rule: RetryRule, error: unknown, attempt: number): boolean {
  if (error instanceof StateLostError) return false
  return typeof rule === 'number' ? attempt <= rule : rule(error, attempt)
}
