import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { headOf, Journal, type JournalLine, readJournal } from '../src/journal.js'
import { replay } from '../src/resume.js'
import { NO_TIMES, NO_USAGE } from '../src/tree.js'

let directory: string
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'search-'))
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const head = headOf({ root: 'cp-0', isOwn: true, strategy: 'mcts', seed: 1, width: 2 })

function made(id: number, parent: number, value: number | null = 0.5): JournalLine {
  const known = { id, parent, action: `a${id}`, observation: null, checkpoint: `cp-${id}`, value }
  const outcome = { ...known, status: 'open', error: null, times: NO_TIMES, usage: NO_USAGE } as const
  return { kind: 'node', outcome }
}

function selected(first: number, ...parents: number[]): JournalLine {
  return { kind: 'selected', first, parents }
}

describe('a journal', () => {
  it('is read as it was written, without a line that was cut short', async () => {
    const file = path.join(directory, 'cut.jsonl')
    const journal = await Journal.open(file)
    const lines = [head, selected(1, 0, 0), made(1, 0)]
    await Promise.all(lines.map((line) => journal.write(line)))
    await journal.close()
    expect(await readJournal(file)).toEqual(lines)
    writeFileSync(file, '{"kind":"node","outc', { flag: 'a' })
    expect(await readJournal(file)).toEqual(lines)
    const next = await Journal.open(file)
    await next.write(made(2, 0))
    await next.close()
    expect(await readJournal(file)).toEqual([...lines, made(2, 0)])
  })

  it('is nothing where there is none, and an error where it is something else', async () => {
    expect(await readJournal(path.join(directory, 'none'))).toBeUndefined()
    const file = path.join(directory, 'other')
    writeFileSync(file, '{"kind":"something"}\n')
    await expect(readJournal(file)).rejects.toThrow('is not a search')
  })
})

describe('what is left of a search', () => {
  it('is the tree in the order of its ids, however nodes came in', () => {
    const { tree, batches } = replay([head, selected(1, 0, 0), made(2, 0, 1), made(1, 0)])
    expect(tree.nodes.map(({ id, action }) => [id, action])).toEqual([
      [0, null],
      [1, 'a1'],
      [2, 'a2'],
    ])
    expect(tree.root).toMatchObject({ visits: 2, total: 1.5 })
    expect(batches).toEqual([])
  })

  it('is what was chosen and is not complete, with what was made of it', () => {
    const { tree, batches } = replay([head, selected(1, 0, 0), made(2, 0), selected(3, 2, 2), made(4, 2)])
    expect(tree.nodes).toHaveLength(1)
    expect(batches.map(({ first, outcomes }) => [first, [...outcomes.keys()]])).toEqual([
      [1, [2]],
      [3, [4]],
    ])
    const later = replay([head, selected(1, 0, 0), made(2, 0), selected(3, 2, 2), made(4, 2), made(1, 0)])
    expect(later.tree.nodes).toHaveLength(3)
    expect(later.batches.map(({ first }) => first)).toEqual([3])
  })

  it('knows what was dropped or lost, and all sandboxes there may be', () => {
    const { tree, sandboxes } = replay([
      head,
      { kind: 'workers', sandboxes: ['sb-1'] },
      selected(1, 0),
      made(1, 0, 1),
      { kind: 'dropped', nodes: [1] },
      { kind: 'workers', sandboxes: ['sb-2'] },
      { kind: 'lost', node: 1, reason: 'gone' },
    ])
    expect(tree.node(1)).toMatchObject({ dropped: true, status: 'failed', error: 'gone', value: null })
    expect(tree.root).toMatchObject({ visits: 1, total: 0 })
    expect(sandboxes).toEqual(['sb-1', 'sb-2'])
  })
})
