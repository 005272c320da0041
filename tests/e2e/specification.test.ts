/** The promises of SPECIFICATION.md, measured in short and with a wide margin. `make bench` measures them in earnest. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { leftBehind } from './support/left-behind.js'

const deltabox = fileURLToPath(new URL('../../bin/deltabox', import.meta.url))
/** Few samples, on a machine that may have other things to do. */
const MARGIN = '4'

let top: string
beforeEach(() => {
  top = mkdtempSync(path.join(tmpdir(), 'dbx-bench-'))
})
afterEach(() => rmSync(top, { recursive: true, force: true }))

interface Told {
  readonly files: { readonly results: string; readonly report: string; readonly summary: string }
  readonly verdicts: readonly { promise: string; atMost: number; measured?: number; broken: boolean }[]
  readonly ended: readonly string[]
}

/** Its temporary files are in a directory of the test's own. */
const environment = (): NodeJS.ProcessEnv => ({ ...process.env, TMPDIR: top })

it('a quick benchmark measures every promise, and all are kept by a wide margin', {
  timeout: 600_000,
}, () => {
  const out = path.join(top, 'out')
  const args = ['bench', '--quick', '--check', '--margin', MARGIN, '--out', out, '--json']
  const { status, stdout, stderr } = spawnSync(deltabox, args, { env: environment(), encoding: 'utf8' })
  expect(status, stderr).toBe(0)
  const { files, verdicts, ended } = JSON.parse(stdout) as Told
  expect(ended).toEqual([])
  const without = verdicts.filter(({ measured }) => measured === undefined).map(({ promise }) => promise)
  expect(without, stderr).toEqual(['process-fork-64'])
  for (const { promise } of verdicts) {
    expect(readFileSync(files.report, 'utf8')).toContain(promise)
    expect(readFileSync(files.summary, 'utf8')).toContain(promise)
  }
  expect(readdirSync(top)).toEqual(['out'])
  expect(leftBehind(top)).toEqual([])
})

it('a promise that is broken is named', () => {
  const from = path.join(top, 'earlier.json')
  const series = [
    ['rollback-image', 100],
    ['rollback-nearby', 1],
    ['rollback-template', 1],
  ].map(([operation, sample]) => {
    const key = {
      group: 'images',
      system: 'deltabox',
      operation,
      parameters: {},
      unit: 'ms',
      timer: 'made up',
    }
    return { ...key, samples: [sample], phases: {}, failures: [] }
  })
  const suite = { name: 'images', seconds: 1, load: [0, 0], series, skipped: [], notes: [] }
  const machine = {
    kernel: '6.1',
    cpu: '',
    cpus: 1,
    memoryBytes: 1,
    fileSystem: '',
    virtualised: '',
    node: '',
  }
  const about = {
    format: 'deltabox-bench',
    version: 1,
    deltabox: '0.1.0',
    size: 'quick',
    started: '2026-01-01T00:00:00Z',
  }
  writeFileSync(from, JSON.stringify({ ...about, machine, suites: [suite] }))
  const again = (...more: string[]): [number | null, string] => {
    const args = ['bench', '--from', from, '--out', path.join(top, 'out'), ...more]
    const { status, stderr } = spawnSync(deltabox, args, { encoding: 'utf8' })
    return [status, stderr]
  }
  expect(again()).toEqual([0, ''])
  expect(again('--check')).toEqual([1, 'deltabox: broken promise: image-rollback: 100.00, promised 12\n'])
  expect(again('--check', '--margin', '9')).toEqual([0, ''])
  writeFileSync(from, '{}')
  expect(again()).toEqual([
    1,
    expect.stringContaining('is not what a benchmark of this version leaves behind'),
  ])
  rmSync(from)
  expect(again()).toEqual([1, expect.stringContaining('earlier.json cannot be read: Error: ENOENT')])
})

it('leaves nothing when it is stopped', { timeout: 120_000 }, async () => {
  const child = spawn(
    deltabox,
    ['bench', '--quick', '--only', 'operations', '--out', path.join(top, 'out')],
    {
      env: environment(),
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  )
  await once(child.stderr, 'data')
  await expect
    .poll(() => readdirSync(top).some((name) => name.startsWith('dbb-')), { timeout: 30_000 })
    .toBe(true)
  child.kill('SIGINT')
  expect(await once(child, 'exit')).toEqual([130, null])
  expect(readdirSync(top)).toEqual(['out'])
  expect(leftBehind(top)).toEqual([])
})
