/** What is promised, and whether it was kept. */
import type { Verdict } from '../../promises.js'
import type { Context } from '../context.js'
import { digits, ratio } from '../quantities.js'
import { type Cell, NOTHING, type Table } from '../table.js'

export function promiseTable({ verdicts, compared, results }: Context): Table {
  return {
    head: ['promise', 'what is compared', '', 'measured', 'at most'],
    words: 3,
    rows: verdicts.map((verdict) => ({
      cells: [
        verdict.promise,
        { text: compared.get(verdict.promise) ?? '', tone: 'soft' },
        outcome(verdict),
        verdict.measured === undefined ? NOTHING : ratio(verdict.measured),
        digits(verdict.atMost),
      ],
    })),
    ...(results.size === 'quick'
      ? { note: 'A quick run has few samples: what is promised may be over by a margin in it.' }
      : {}),
  }
}

function outcome({ measured, broken, atMost }: Verdict): Cell {
  if (broken) return { text: '✗ broken', tone: 'bad' }
  if (measured === undefined) return { text: '○ not measured', tone: 'soft' }
  return measured <= atMost
    ? { text: '✓ kept', tone: 'good' }
    : { text: '≈ over, within the margin', tone: 'soft' }
}

export function promiseLine(verdicts: readonly Verdict[]): string {
  const broken = verdicts.filter((one) => one.broken).length
  const unknown = verdicts.filter(({ measured }) => measured === undefined).length
  const kept = verdicts.length - broken - unknown
  return `${kept} kept, ${broken} broken${unknown > 0 ? `, ${unknown} not measured` : ''}`
}
