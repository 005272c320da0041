import { totalmem } from 'node:os'
import { DeltaBoxError } from '@deltabox/protocol'
import { describe, expect, it } from 'vitest'
import { readConfig } from '../src/config.js'

const env = { HOME: '/home/me' }

describe('readConfig', () => {
  it('has a default for everything', () => {
    expect(readConfig([], env)).toEqual({
      command: 'serve',
      repair: false,
      dataDir: '/home/me/.local/state/deltabox',
      runBase: '/run/deltabox',
      enginePath: expect.stringMatching(/\/native\/build\/deltabox-engine$/),
      listen: undefined,
      token: undefined,
      mergeDepth: 16,
      copyAhead: 16777216,
      poolBytes: Math.floor(totalmem() / 4),
      poolCount: 1000,
      compress: false,
      sync: true,
      warm: true,
      logLevel: 'info',
    })
  })

  it('takes the environment', () => {
    const given = {
      DELTABOX_DATA: '/d/',
      DELTABOX_RUN: '/r',
      DELTABOX_ENGINE: '/e',
      DELTABOX_TOKEN: 't',
      DELTABOX_WARM: '0',
      DELTABOX_MERGE_DEPTH: '4',
      DELTABOX_COPY_AHEAD: '1',
      DELTABOX_POOL_BYTES: '64000000',
      DELTABOX_POOL_COUNT: '9',
      DELTABOX_COMPRESS: 'zstd',
      DELTABOX_SYNC: '0',
      DELTABOX_LOG_LEVEL: 'debug',
    }
    expect(readConfig(['doctor'], given)).toMatchObject({
      command: 'doctor',
      dataDir: '/d/',
      runBase: '/r',
      enginePath: '/e',
      token: 't',
      warm: false,
      mergeDepth: 4,
      copyAhead: 1,
      poolBytes: 64000000,
      poolCount: 9,
      compress: true,
      sync: false,
      logLevel: 'debug',
    })
    expect(readConfig([], { ...env, XDG_STATE_HOME: '/s' }).dataDir).toBe('/s/deltabox')
  })

  it('takes an address to listen on, with a token', () => {
    const listen = (url: string): unknown => readConfig(['--listen', url, '--token', 't'], env).listen
    expect(listen('http://127.0.0.1:8080')).toEqual({ host: '127.0.0.1', port: 8080 })
    expect(listen('http://[::1]:0')).toEqual({ host: '::1', port: 0 })
    expect(listen('http://0.0.0.0:80')).toEqual({ host: '0.0.0.0', port: 80 })
  })

  it.each([
    ['--listen without a token', ['--listen', 'http://127.0.0.1:1'], env],
    ['--listen without a port', ['--listen', 'http://127.0.0.1', '--token', 't'], env],
    ['another scheme', ['--listen', 'https://127.0.0.1:1', '--token', 't'], env],
    ['an unknown option', ['--port', '1'], env],
    ['an unknown word', ['start'], env],
    ['a second word', ['doctor', 'now'], env],
    ['a relative directory', [], { ...env, DELTABOX_DATA: 'data' }],
    ['a strange DELTABOX_WARM', [], { ...env, DELTABOX_WARM: 'yes' }],
    ['too small a merge depth', [], { ...env, DELTABOX_MERGE_DEPTH: '1' }],
    ['a merge depth that is no number', [], { ...env, DELTABOX_MERGE_DEPTH: '0x10' }],
    ['a strange log level', [], { ...env, DELTABOX_LOG_LEVEL: 'loud' }],
  ])('refuses %s', (_what, argv, given) => {
    const refused = (): unknown => readConfig(argv, given)
    expect(refused).toThrow(DeltaBoxError)
    expect(refused).toThrow(expect.objectContaining({ code: 'invalid_request' }))
  })
})
