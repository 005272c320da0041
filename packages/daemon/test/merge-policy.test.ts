import { describe, expect, it } from 'vitest'
import { layersToMerge } from '../src/deltafs/merge-policy.js'

interface Layer {
  readonly id: number
  readonly files: number
}

/** Newest first; the ids count from the base. */
const chainOf = (...files: number[]): Layer[] =>
  files.map((count, index) => ({ id: files.length - index, files: count }))
const ids = (layers: readonly Layer[]): number[] => layers.map(({ id }) => id)
const ones = (count: number): number[] => Array(count).fill(1)

/** What lookups and links a chain costs while checkpoints are taken, each with so many new files. */
function simulate(checkpoints: number, limit: number, filesOf: (index: number) => number) {
  let chain: Layer[] = []
  let [deepest, links] = [0, 0]
  for (let index = 0; index < checkpoints; index++) {
    chain = [{ id: index, files: filesOf(index) }, ...chain]
    const run = layersToMerge(chain, limit)
    const files = run.reduce((sum, layer) => sum + layer.files, 0)
    const start = chain.indexOf(run[0] as Layer)
    if (run.length > 0) chain.splice(start, run.length, { id: -1, files })
    links += files
    deepest = Math.max(deepest, chain.length)
  }
  return { deepest, links }
}

describe('layersToMerge', () => {
  it('leaves a chain that is not deeper than the limit', () => {
    expect(layersToMerge(chainOf(...ones(16)), 16)).toEqual([])
  })

  it('takes what is older than the newest eight, where layers are alike', () => {
    expect(ids(layersToMerge(chainOf(...ones(17)), 16))).toEqual([9, 8, 7, 6, 5, 4, 3, 2, 1])
  })

  it('leaves a large old layer, and what lies below it, where the others make the chain short enough', () => {
    const chain = chainOf(...ones(15), 1000, 1)
    expect(ids(layersToMerge(chain, 16))).toEqual([9, 8, 7, 6, 5, 4, 3])
  })

  it('takes a large layer where the chain would stay too deep without it', () => {
    const chain = chainOf(...ones(10), 1000, ...ones(6))
    expect(ids(layersToMerge(chain, 16)).length).toBeGreaterThan(5)
    expect(layersToMerge(chain, 16)).toContain(chain[10])
  })

  it.each([2, 3, 4, 9, 12, 16, 400])('keeps a chain of any depth within a limit of %i', (limit) => {
    for (let depth = limit + 1; depth < limit + 40; depth++) {
      const run = layersToMerge(chainOf(...ones(depth)), limit)
      expect(run.length).toBeGreaterThanOrEqual(2)
      expect(depth - run.length + 1).toBeLessThanOrEqual(limit)
    }
  })

  it('links each file a few times over thousands of checkpoints, not once for each', () => {
    const { deepest, links } = simulate(5000, 16, () => 10)
    expect(deepest).toBe(16)
    expect(links / (5000 * 10)).toBeLessThan(12)
    const withLarge = simulate(200, 16, (index) => (index === 0 ? 100_000 : 10))
    expect(withLarge.links).toBeLessThan(50_000)
  })
})
