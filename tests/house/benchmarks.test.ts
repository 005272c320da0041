/** What is told of what DeltaBox costs can be traced to what was measured. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { bench } from '@deltabox/bench'
import { expect, it } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const published = path.join(root, 'docs/benchmarks')

function read(...names: string[]): string {
  return readFileSync(path.join(...names), 'utf8')
}

it('the published report is that of the published samples', async () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'dbx-report-'))
  try {
    const from = path.join(published, 'results.json')
    const { results } = await bench({ size: 'full', directory, from, say: () => {} })
    expect(results.size).toBe('full')
    expect(results.suites.filter(({ error }) => error !== undefined)).toEqual([])
    for (const file of ['report.html', 'summary.md', 'overview.svg']) {
      expect(
        read(directory, file) === read(published, file),
        `docs/benchmarks/${file} is of other samples`,
      ).toBe(true)
    }
  } finally {
    rmSync(directory, { recursive: true })
  }
})

it('the table of the README is that of the report', () => {
  const [, title, table] =
    /^(## A worker of 50 MB.*)\n\n((?:\|.*\n)+)/m.exec(read(published, 'summary.md')) ?? []
  expect(title).toBeDefined()
  expect(read(root, 'README.md')).toContain(`\n\n${table}`)
})
