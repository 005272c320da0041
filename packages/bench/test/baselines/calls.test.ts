import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { Calls } from '../../src/baselines/calls.js'
import { program } from '../../src/programs.js'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'dbb-calls-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

/** Who reaps it may take a while. */
function hasEnded(pid: string): boolean {
  const status = `/proc/${pid}/status`
  return !existsSync(status) || readFileSync(status, 'utf8').includes('State:\tZ')
}

it('bare calls come back, and pass on what is asked', async () => {
  const worker = 'echo ready; while read line; do i=$((i + 1)); echo $$ $i $line; done'
  const calls = await Calls.begin(directory, ['sh', '-c', worker])
  expect(await calls.call()).toEqual({})
  const [pid, ...first] = (await calls.ask('one')).split(' ')
  expect(first).toEqual(['1', 'one'])
  await calls.call()
  expect(await calls.ask('two')).toBe(`${pid} 2 two`)
  await calls.end()
  await expect.poll(() => hasEnded(pid ?? '')).toBe(true)
})

it('bare calls of a worker that cannot be run are told of', async () => {
  await expect(Calls.begin(directory, [path.join(directory, 'nothing')])).rejects.toThrow('ENOENT')
})

it('a worker that forks itself goes back to what it was before', async () => {
  const calls = await Calls.begin(directory, ['python3', program('worker.py'), directory, '1'])
  expect(await calls.ask('turn')).toBe('1')
  await calls.keep()
  expect(await calls.ask('turn')).toBe('2')
  await calls.keep()
  expect(await calls.ask('turn')).toBe('3')
  await calls.back()
  expect(await calls.ask('turns')).toBe('2')
  await calls.keep()
  await calls.back()
  expect(await calls.ask('turns')).toBe('2')
  await calls.end()
})
