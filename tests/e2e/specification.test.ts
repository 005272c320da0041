/** The promises of SPECIFICATION.md, measured in short and with wide margins. `make bench` measures them in earnest. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))

it('a search takes hardly longer than what it waits for', { timeout: 300_000 }, () => {
  const bench = spawnSync('npx', ['tsx', 'bench/search.ts', '--short'], { cwd: root, encoding: 'utf8' })
  expect(bench.stderr).not.toContain('broken promises')
  expect(bench.status, bench.stdout + bench.stderr).toBe(0)
  expect(bench.stdout).toContain('search-overhead')
})

it('the costs of checkpoints grow with nothing they promise not to grow with', { timeout: 300_000 }, () => {
  const bench = spawnSync('npx', ['tsx', 'bench/files.ts', '--short'], { cwd: root, encoding: 'utf8' })
  expect(bench.stderr).not.toContain('broken promises')
  expect(bench.status, bench.stdout + bench.stderr).toBe(0)
})
