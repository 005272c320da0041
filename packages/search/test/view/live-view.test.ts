import { PassThrough } from 'node:stream'
import { stripVTControlCharacters } from 'node:util'
import { describe, expect, it } from 'vitest'
import type { SearchEvent } from '../../src/options.js'
import { type LiveView, liveView, type Screen } from '../../src/view/live-view.js'
import { outcome, treeOf } from './trees.js'

interface Watched {
  readonly stream: Screen & PassThrough
  readonly view: LiveView<string, string>
  written(): string
}

function watched(
  env: NodeJS.ProcessEnv,
  terminal: Partial<Screen> = {},
  title: string | undefined = 'test',
): Watched {
  const stream = Object.assign(new PassThrough(), terminal)
  const describe = (action: string): string => action
  const view = liveView<string, string>({ expansions: 4, title, stream, env, describe })
  return { stream, view, written: () => String(stream.read() ?? '') }
}

const ESC = '\x1b'
/** To its last letter; of what is none of those, the character behind it. */
const SEQUENCE = new RegExp(`${ESC}(\\[[?0-9;]*[A-Za-z]|.)`, 'g')
const HOSTILE = 'rm\x1b[2J\x1b]0;x\x07\r\n'
const events: SearchEvent<string, string>[] = [
  { type: 'begun', tree: treeOf() },
  { type: 'selected', ids: [1, 2], parents: [0, 0] },
  { type: 'phase', id: 1, phase: 'propose' },
  { type: 'made', outcome: outcome(1, { parent: 0, action: HOSTILE, value: 0.75 }) },
  { type: 'phase', id: 2, phase: 'act' },
]

describe('liveView', () => {
  it('writes a line per node where there is no terminal', () => {
    const { view, written } = watched({})
    for (const event of events) view.onEvent(event)
    view.note('a note')
    expect(written()).toMatch(
      /^test\n1 rm \| after 0 \| value 0\.75 \| rollback 0\.0 ms \(0\.0 ms hidden\) \| checkpoint 0\.0 ms \| step 0\.0 ms \| 1 of 4 steps, 0 s.*\na note\n$/,
    )
    view.close()
    const summary = written()
    expect(summary).toContain('best         0.75 by 1\n')
    expect(summary).not.toContain('\x1b')
  })

  it('draws over what it drew, and lets the cursor be seen at the end', () => {
    const { stream, view, written } = watched({}, { isTTY: true, columns: 100, rows: 30 })
    for (const event of events) view.onEvent(event)
    stream.emit('resize')
    const first = written()
    expect(first.startsWith(`${ESC}[?25l${ESC}[2J${ESC}[H`)).toBe(true)
    expect(first).toContain('2 acting …')
    view.onEvent({ type: 'made', outcome: outcome(2, { parent: 0, value: 1 }) })
    view.close()
    const last = written()
    const lines = first.split('\n').length - 1
    expect(last).toContain(`\r\x1b[${lines}A`)
    expect(last.endsWith(`${ESC}[?25h`)).toBe(true)
    expect(stripVTControlCharacters(last)).toMatch(/└─ 2 do 2 +1\.00/)
    expect(stream.listenerCount('resize')).toBe(0)
  })

  it('has no colours where none are wanted, and obeys nobody else', () => {
    const { view, written } = watched({ NO_COLOR: '1' }, { isTTY: true, columns: 100, rows: 30 })
    for (const event of events) view.onEvent(event)
    view.close()
    const sequences = written().match(SEQUENCE) ?? []
    expect(sequences.filter((one) => !/\[(\?25[lh]|\?2026[lh]|\d+A|K|J)$/.test(one))).toEqual([])
  })

  it('takes a terminal that cannot be drawn on for none', () => {
    const { view, written } = watched({ TERM: 'dumb' }, { isTTY: true, columns: 100, rows: 30 })
    for (const event of events) view.onEvent(event)
    view.close()
    expect(written()).not.toContain('\x1b')
  })

  it('shows what an earlier program has left', () => {
    const { view, written } = watched({}, { isTTY: true, columns: 100, rows: 30 })
    view.onEvent({ type: 'begun', tree: treeOf({ parent: 0 }, { parent: 1, value: 0.9 }) })
    view.close()
    const seen = written()
    expect(seen).toContain('2 of 4 steps')
    expect(seen).toContain('0.90 by 1 → 2')
  })
})
