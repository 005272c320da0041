/** Runs a sequence: given, or drawn from a seed while it runs. */
import { Client } from 'deltabox'
import { TestDaemon } from '../e2e/support/daemon.js'
import { Draw, type Operation, randomFrom } from './operations.js'
import { type Counts, TREES, type Where, World } from './world.js'

export interface Variant {
  readonly name: 'short' | 'long'
  readonly title: string
  readonly environment: Record<string, string>
  readonly keepsNumbers: boolean
}

const MERGING: Variant = {
  ...{ name: 'short', title: 'chains that are put together often', keepsNumbers: false },
  environment: { DELTABOX_MERGE_DEPTH: '4' },
}
const GROWING: Variant = {
  ...{ name: 'long', title: 'chains that grow', keepsNumbers: true },
  environment: { DELTABOX_MERGE_DEPTH: '400' },
}

export const VARIANTS: readonly Variant[] = [MERGING, GROWING]
/** More is compared there. */
export const VARIANT_OF_REGRESSIONS = GROWING

export interface Outcome {
  readonly counts: Counts
  /** What was done, up to the step that failed. */
  readonly operations: readonly Operation[]
  readonly failure?: Error
}

/** A daemon of that kind, for as long as the work takes. */
export async function withDaemon(variant: Variant, work: (where: Where) => Promise<void>): Promise<void> {
  const daemon = await TestDaemon.start(variant.environment)
  try {
    const client = new Client({ url: daemon.url })
    await work({ client, dataDir: daemon.dataDir, keepsNumbers: variant.keepsNumbers })
  } finally {
    await daemon.clean()
  }
}

export function runSeed(where: Where, seed: number, steps: number): Promise<Outcome> {
  const draw = new Draw(randomFrom(seed), TREES)
  let left = steps
  return run(where, (world) => (left-- > 0 ? draw.next(world.seen) : undefined))
}

export function runOperations(where: Where, operations: readonly Operation[]): Promise<Outcome> {
  const iterator = operations[Symbol.iterator]()
  return run(where, () => iterator.next().value)
}

async function run(where: Where, next: (world: World) => Operation | undefined): Promise<Outcome> {
  const world = await World.make(where)
  const operations: Operation[] = []
  let failure: Error | undefined
  try {
    await world.begin()
    for (let operation = next(world); operation; operation = next(world)) {
      operations.push(operation)
      await world.step(operation)
    }
    await world.finish()
  } catch (error) {
    failure = error as Error
  }
  await world.end()
  return { counts: world.counts, operations, ...(failure ? { failure } : {}) }
}
