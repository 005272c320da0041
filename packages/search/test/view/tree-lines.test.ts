import { describe, expect, it } from 'vitest'
import { NO_TIMES } from '../../src/tree.js'
import type { Branch } from '../../src/view/branch.js'
import { paintFor } from '../../src/view/paint.js'
import { widthOf } from '../../src/view/text.js'
import { treeLines } from '../../src/view/tree-lines.js'
import { type Made, treeOf } from './trees.js'

function branchesOf(...made: Made[]): Map<number, Branch> {
  const { nodes } = treeOf(...made)
  return new Map(nodes.map((node) => [node.id, { ...node, made: node, phase: undefined }]))
}

const label = ({ id, made, phase }: Branch): string => `${id} ${made?.action ?? phase ?? 'start'}`
const plainly = { paint: paintFor(false), label }
const times = { ...NO_TIMES, propose: 200, act: 10, goTo: 2, goToHidden: 2, checkpoint: 4.25 }

describe('treeLines', () => {
  it('draws nodes below their parents, with their figures', () => {
    const branches = branchesOf(
      { parent: 0, value: 0.25, times },
      { parent: 0, value: null },
      { parent: 1, value: 1, times },
      { parent: 1, status: 'failed', checkpoint: null, value: null },
    )
    branches.set(5, { id: 5, parent: 2, made: undefined, phase: 'propose' })
    expect(treeLines(branches, { width: 80, ...plainly })).toEqual([
      '                                           value  rollback  checkpoint      step',
      '0 start                                                                         ',
      '├─ 1 do 1                                   0.25    2.0 ms      4.3 ms    214 ms',
      '│  ├─ 3 do 3                                1.00    2.0 ms      4.3 ms    214 ms',
      '│  └─ 4 do 4                              failed         –           –         –',
      '└─ 2 do 2                                      –         –           –         –',
      '   └─ 5 propose                                                                 ',
    ])
  })

  it('leaves figures out where there is no room for them', () => {
    expect(treeLines(branchesOf({ parent: 0 }), { width: 24, ...plainly })).toEqual([
      '                   value',
      '0 start                 ',
      '└─ 1 do 1           0.50',
    ])
  })

  it('folds what has no room, but not the way to the best, nor what is new', () => {
    const branches = branchesOf(
      { parent: 0 },
      { parent: 1, value: 0.9 },
      { parent: 0 },
      { parent: 3 },
      { parent: 3 },
      { parent: 0 },
    )
    expect(treeLines(branches, { width: 40, height: 7, ...plainly }).map((line) => line.trimEnd())).toEqual([
      '                                   value',
      '0 start',
      '├─ 1 do 1                           0.50',
      '│  └─ 2 do 2                        0.90',
      '├─ 6 do 6                           0.50',
      '└─ … 1 more',
    ])
  })

  it('is never wider or higher than it may be', () => {
    const deep = branchesOf(
      ...Array.from({ length: 60 }, (_, id) => ({ parent: Math.max(0, id - (id % 3)) })),
    )
    for (let size = 10; size < 100; size += 7) {
      const lines = treeLines(deep, { width: size, height: size, ...plainly, label: () => '語'.repeat(90) })
      expect(lines.length).toBeLessThanOrEqual(size)
      for (const line of lines) expect(widthOf(line)).toBeLessThanOrEqual(size)
    }
  })
})
