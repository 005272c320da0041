/**
 * Random file operations, checkpoints, rollbacks and forks in a sandbox, and the same on plain directories beside it: after
 * each step both look alike. `npm run model` runs more of them.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { Operation } from './operations.js'
import { type Outcome, runOperations, runSeed, VARIANT_OF_REGRESSIONS, VARIANTS, withDaemon } from './run.js'

const STEPS = 100
const SEEDS = [1, 2]

interface Regression {
  readonly name: string
  readonly operations: readonly Operation[]
}

/** What failed once, made short. */
const regressions: Regression[] = JSON.parse(
  readFileSync(new URL('regressions.json', import.meta.url), 'utf8'),
)

function expectNoFailure(what: string, { failure, counts, operations }: Outcome): void {
  const at = `${what}, after ${JSON.stringify(counts)}: ${JSON.stringify(operations.at(-1))}`
  expect(failure && `${at}\n${failure.stack}`).toBeUndefined()
}

describe('a sandbox looks like plain directories', () => {
  it.each(VARIANTS)('with $title', async (variant) => {
    await withDaemon(variant, async (where) => {
      for (const seed of SEEDS) expectNoFailure(`seed ${seed}`, await runSeed(where, seed, STEPS))
    })
  })

  it('after what failed once', async () => {
    await withDaemon(VARIANT_OF_REGRESSIONS, async (where) => {
      for (const { name, operations } of regressions) {
        expectNoFailure(name, await runOperations(where, operations))
      }
    })
  })
})
