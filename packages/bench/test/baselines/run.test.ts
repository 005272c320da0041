import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { find } from '../../src/baselines/run.js'

const before = { ...process.env }
let cache: string
beforeEach(() => {
  cache = mkdtempSync(path.join(tmpdir(), 'dbb-cache-'))
  process.env.XDG_CACHE_HOME = cache
  delete process.env.DELTABOX_NOSUCH
})
afterEach(() => {
  process.env = { ...before }
  rmSync(cache, { recursive: true })
})

describe('a program that is looked for', () => {
  it('is told how to get where there is none', () => {
    expect(() => find('nosuch')).toThrow(
      'there is no nosuch; scripts/fetch-nosuch.sh fetches one, DELTABOX_NOSUCH names one',
    )
  })

  it('was fetched', () => {
    const file = path.join(cache, 'deltabox/nosuch/nosuch')
    mkdirSync(path.dirname(file), { recursive: true })
    writeFileSync(file, '')
    expect(() => find('nosuch')).toThrow('there is no nosuch')
    chmodSync(file, 0o755)
    expect(find('nosuch')).toBe(file)
  })

  it('is named', () => {
    process.env.DELTABOX_NOSUCH = '/opt/named'
    expect(find('nosuch')).toBe('/opt/named')
  })
})
