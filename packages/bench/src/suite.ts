/** What a suite gets to work with. */
import type { Recorder } from './recorder.js'
import type { Size } from './results.js'

export interface Bench {
  readonly size: Size
  readonly record: Recorder
  /** Goes on the terminal only. */
  say(text: string): void
}

export interface Suite {
  run(bench: Bench): Promise<void>
}

export type Sdk = typeof import('deltabox')

/** What most samples are of. */
export const CALL = 'from the call of the SDK to its return'

/** One after the other and again, so that what else the machine does hits all alike. */
export async function inTurns(
  rounds: number,
  actions: readonly ((round: number) => Promise<unknown>)[],
): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (const action of actions) await action(round)
  }
}

const REST_MS = 60
/** In which the last one is taken away, and one is made ready. */
const REST_FOR_EACH_MS = 15

/** Cells and templates are made ready while nothing is asked. */
export async function settle(ms: number = REST_MS): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms))
}

/** After, and before, so many forks. */
export async function rested(count: number): Promise<void> {
  await settle(REST_MS + REST_FOR_EACH_MS * count)
}

export async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await settle(20)
}

export async function timed(action: () => Promise<unknown>): Promise<number> {
  const started = performance.now()
  await action()
  return performance.now() - started
}
