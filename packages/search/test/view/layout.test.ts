import { describe, expect, it } from 'vitest'
import { Random } from '../../src/random.js'
import { layout } from '../../src/view/layout.js'

interface Node {
  readonly id: number
  readonly parent: number | null
}

function grown(seed: number, count: number): Node[] {
  const random = new Random(seed)
  const nodes: Node[] = [{ id: 0, parent: null }]
  while (nodes.length < count) nodes.push({ id: nodes.length, parent: random.below(nodes.length) })
  return nodes
}

describe('layout', () => {
  it('puts parents beside the middle of their children', () => {
    const places = layout([
      { id: 0, parent: null },
      { id: 1, parent: 0 },
      { id: 2, parent: 0 },
      { id: 3, parent: 1 },
      { id: 4, parent: 1 },
    ])
    expect([...places]).toEqual([
      [0, { column: 0, row: 1.25 }],
      [1, { column: 1, row: 0.5 }],
      [2, { column: 1, row: 2 }],
      [3, { column: 2, row: 0 }],
      [4, { column: 2, row: 1 }],
    ])
  })

  it('never puts two nodes of a column closer than one row, and children in their order', () => {
    for (let seed = 1; seed <= 50; seed++) {
      const nodes = grown(seed, 120)
      const columns = new Map<number, { id: number; row: number }[]>()
      for (const [id, { column, row }] of layout(nodes)) {
        columns.set(column, [...(columns.get(column) ?? []), { id, row }])
      }
      for (const column of columns.values()) {
        const sorted = column.sort((a, b) => a.row - b.row)
        for (const [index, { row }] of sorted.entries()) {
          expect(row - (sorted[index - 1]?.row ?? -1)).toBeGreaterThanOrEqual(1)
        }
      }
    }
  })

  it('takes a tree as deep as it comes', () => {
    const nodes = Array.from({ length: 20_000 }, (_, id) => ({ id, parent: id === 0 ? null : id - 1 }))
    expect(layout(nodes).get(19_999)).toEqual({ column: 19_999, row: 0 })
  })
})
