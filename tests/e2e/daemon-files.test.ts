import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Reply, TestDaemon } from './support/daemon.js'

let daemon: TestDaemon
let box: string

beforeAll(async () => {
  daemon = await TestDaemon.start()
  box = (await daemon.create()).id
})
afterAll(() => daemon.clean())

const files = (rest: string): string => `/v1/sandboxes/${box}/files${rest}`
const read = (path: string): Promise<Reply> => daemon.get(files(`/content?path=${encodeURIComponent(path)}`))
const write = (path: string, bytes: Buffer | string, more = ''): Promise<Reply> =>
  daemon.upload('PUT', files(`/content?path=${encodeURIComponent(path)}${more}`), bytes)

describe('files', () => {
  it('are written with their parents and read back', async () => {
    const written = await write('/srv/deep/er/a.txt', 'hello')
    expect(written.json).toMatchObject({ type: 'file', size: 5, mode: 0o644, uid: 0, gid: 0 })
    const back = await read('/srv/deep/er/a.txt')
    expect([back.status, back.headers['content-type'], back.bytes.toString()]).toEqual([
      200,
      'application/octet-stream',
      'hello',
    ])
  })

  it('may be large', async () => {
    const bytes = Buffer.alloc(20_000_003, 'some bytes ')
    expect((await write('large', bytes)).json.size).toBe(bytes.length)
    expect((await read('/root/large')).bytes.equals(bytes)).toBe(true)
  })

  it('are truncated, appended to and given a mode', async () => {
    await write('m', 'long content')
    await write('m', 'short', '&mode=384')
    const appended = await write('m', '!', '&append=true')
    expect(appended.json).toMatchObject({ size: 6, mode: 0o600 })
    expect((await read('m')).bytes.toString()).toBe('short!')
  })

  it('may be empty', async () => {
    expect((await write('empty', '')).json.size).toBe(0)
    expect((await read('empty')).bytes.length).toBe(0)
  })

  it('are what commands see', async () => {
    await write('/root/script', '#!/bin/sh\necho ran\n', '&mode=493')
    expect((await daemon.run(box, ['/root/script'])).stdout).toBe('ran\n')
  })

  it('are listed, made, linked, renamed and removed', async () => {
    const post = (verb: string, body: object): Promise<Reply> => daemon.call('POST', files(`/${verb}`), body)
    expect((await post('mkdir', { path: 'dir/sub' })).status).toBe(200)
    expect((await post('symlink', { path: 'dir/link', target: '../m' })).status).toBe(200)
    await write('dir/one', '1')
    expect((await post('rename', { from: 'dir/one', to: 'dir/two' })).status).toBe(200)
    const { entries } = (await daemon.get(files('/list?path=dir'))).json
    expect(entries).toMatchObject([
      { name: 'link', type: 'symlink', target: '../m' },
      { name: 'sub', type: 'directory', mode: 0o755 },
      { name: 'two', type: 'file', size: 1 },
    ])
    const followed = await daemon.get(files('/stat?path=dir/link&follow=true'))
    expect(followed.json).toMatchObject({ type: 'file', size: 6 })
    expect((await daemon.call('DELETE', files('?path=dir&recursive=true'))).status).toBe(204)
    expect((await daemon.get(files('/stat?path=dir'))).json.error.code).toBe('file_not_found')
  })

  const wrong: [string, () => Promise<Reply>, number, string][] = [
    ['read what is not there', () => read('/nowhere'), 404, 'file_not_found'],
    ['read a directory', () => read('/etc'), 409, 'is_directory'],
    ['read below a file', () => read('/etc/passwd/x'), 409, 'not_directory'],
    ['read a kernel file', () => read('/proc/uptime'), 409, 'not_a_file'],
    ['write to a read-only place', () => write('/proc/sys/kernel/hostname', 'x'), 403, 'permission_denied'],
    ['list a file', () => daemon.get(files('/list?path=/etc/passwd')), 409, 'not_directory'],
    [
      'make what exists',
      () => daemon.call('POST', files('/mkdir'), { path: '/etc', parents: false }),
      409,
      'file_exists',
    ],
    [
      'remove what is not empty',
      () => daemon.call('DELETE', files('?path=/srv')),
      409,
      'directory_not_empty',
    ],
    [
      'rename what is not there',
      () => daemon.call('POST', files('/rename'), { from: '/nowhere', to: '/x' }),
      404,
      'file_not_found',
    ],
    ['leave the path out', () => daemon.get(files('/stat')), 400, 'invalid_request'],
  ]
  it.each(wrong)('refuse to %s', async (_what, ask, status, code) => {
    const reply = await ask()
    expect([reply.status, reply.json.error.code]).toEqual([status, code])
  })
})
