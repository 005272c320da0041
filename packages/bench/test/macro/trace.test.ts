import type { SearchNode } from '@deltabox/search'
import { expect, it } from 'vitest'
import { difference, lastUsesIn, type Told, toldBy, traceOf } from '../../src/macro/trace.js'

const root: Told = { memory: 'm0', files: 'f0' }

function node(
  id: number,
  parent: number,
  action: number,
  observation: Told | null,
): SearchNode<number, Told> {
  return { id, parent, action, observation } as SearchNode<number, Told>
}

it('a trace has all nodes in the order in which they were made', () => {
  const [one, two] = [
    { memory: 'm1', files: 'f1' },
    { memory: 'm2', files: 'f2' },
  ]
  expect(traceOf(root, [node(1, 0, 11, one), node(2, 0, 22, two)])).toEqual({
    root,
    expansions: [
      { node: 1, parent: 0, seed: 11, told: one },
      { node: 2, parent: 0, seed: 22, told: two },
    ],
  })
  expect(() => traceOf(root, [node(1, 0, 11, null)])).toThrow('node 1 was not made')
})

it('what the worker tells is two digests', () => {
  expect(toldBy('m0 f0')).toEqual(root)
  expect(() => toldBy('m0')).toThrow('the worker tells "m0"')
  expect(() => toldBy('m0 f0 x')).toThrow('the worker tells "m0 f0 x"')
})

it.each([
  [{}, true, undefined],
  [{ files: 'x' }, true, 'other files than recorded'],
  [{ memory: 'x' }, true, 'other memory than recorded'],
  [{ memory: 'x', files: 'x' }, true, 'other files and other memory than recorded'],
  [{ memory: 'x' }, false, undefined],
  [{ memory: 'x', files: 'x' }, false, 'other files than recorded'],
])('%j, where memory counts: %s, differs as %s', (is, memoryCounts, expected) => {
  expect(difference({ ...root, ...is }, root, memoryCounts)).toBe(expected)
})

it('a state is used until the last expansion of its node', () => {
  const expansions = [
    [1, 0],
    [2, 0],
    [3, 1],
    [4, 0],
  ].map(([made, parent]) => ({ node: made as number, parent: parent as number, seed: 0, told: root }))
  expect([...lastUsesIn({ root, expansions })]).toEqual([
    [0, 4],
    [1, 3],
  ])
})
