import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Child } from '../../src/baselines/child.js'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'dbb-child-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

function child(...command: string[]): Child {
  return new Child(command, directory, path.join(directory, 'errors'))
}

describe('a child', () => {
  it('is started anew, and ends', async () => {
    const counting = child('sh', '-c', 'echo ready; while read line; do i=$((i + 1)); echo $$ $i; done')
    await counting.start()
    const [pid, first] = (await counting.ask('')).split(' ')
    expect(first).toBe('1')
    await counting.kill()
    expect(existsSync(`/proc/${pid}`)).toBe(false)
    await counting.start()
    expect((await counting.ask('')).split(' ')[1]).toBe('1')
    await counting.kill()
  })

  it('that cannot be run is told of', async () => {
    await expect(child('there-is-none').start()).rejects.toThrow('there-is-none ENOENT')
  })

  it('tells what it complained of when it has ended', async () => {
    const failing = child('sh', '-c', 'echo it hurts >&2')
    await expect(failing.start()).rejects.toThrow('the program has ended: it hurts')
    await failing.kill()
  })
})
