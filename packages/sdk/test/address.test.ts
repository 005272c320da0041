import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { dataDirOf, parseUrl, socketOf } from '../src/address.js'

describe('addresses', () => {
  it.each([
    ['unix:///run/x.sock', { kind: 'unix', socketPath: '/run/x.sock' }],
    ['unix:/run/x.sock', { kind: 'unix', socketPath: '/run/x.sock' }],
    ['http://localhost:8080', { kind: 'tcp', host: 'localhost', port: 8080 }],
    ['http://[::1]:8080', { kind: 'tcp', host: '::1', port: 8080 }],
  ])('%s', (url, address) => {
    expect(parseUrl(url)).toEqual(address)
  })

  it.each(['', 'unix:', 'unix://', 'https://x', 'ftp://x', 'nonsense'])('%j is refused', (url) => {
    expect(() => parseUrl(url)).toThrow(expect.objectContaining({ code: 'invalid_request' }))
  })

  it('the data directory follows DELTABOX_DATA, then XDG_STATE_HOME', () => {
    expect(dataDirOf({ DELTABOX_DATA: '/d', XDG_STATE_HOME: '/s' })).toBe('/d')
    expect(dataDirOf({ XDG_STATE_HOME: '/s' })).toBe('/s/deltabox')
  })

  it('one directory has one socket, by whatever path it is named', () => {
    const top = mkdtempSync(join(tmpdir(), 'dbx-'))
    symlinkSync(top, `${top}-link`)
    expect(socketOf(`${top}-link`, { DELTABOX_RUN: '/r' })).toBe(socketOf(top, { DELTABOX_RUN: '/r' }))
    expect(socketOf(top, { DELTABOX_RUN: '/r' })).toMatch(/^\/r\/[0-9a-f]{12}\/daemon\.sock$/)
    rmSync(`${top}-link`)
    rmSync(top, { recursive: true })
  })
})
