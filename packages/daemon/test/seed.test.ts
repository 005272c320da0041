import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findSecrets } from '../src/deltafs/host-secrets.js'
import { withoutCredentials } from '../src/deltafs/npmrc.js'
import { planSeed, type SeedRequest } from '../src/deltafs/seed.js'
import { lockedGshadow, lockedShadow } from '../src/deltafs/user-list.js'

let root: string

beforeAll(() => {
  root = mkdtempSync(path.join(tmpdir(), 'dbx-seed-'))
  for (const directory of [
    'etc/ssh',
    'etc/ssl/private',
    'var/lib/docker',
    'var/lib/pg/.ssh',
    'data/me',
    'home/you',
  ]) {
    mkdirSync(path.join(root, directory), { recursive: true, mode: 0o750 })
  }
  const passwd = [
    'root:x:0:0:root:/root:/bin/bash',
    'daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin',
    'odd:x:1001:1001::/:/bin/sh',
    'me:x:1000:1000:Me:/data/me:/bin/bash',
    'you:x:1002:1002:You:/home/you:/bin/bash',
    'postgres:x:101:104::/var/lib/pg:/bin/bash',
    'gone:x:1003:1003::/nonexistent:/bin/sh',
  ]
  writeFileSync(path.join(root, 'etc/passwd'), `${passwd.join('\n')}\n`)
  for (const name of [
    'etc/shadow-',
    'etc/ssh/ssh_host_rsa_key',
    'etc/ssh/ssh_host_rsa_key.pub',
    'swapfile',
  ]) {
    writeFileSync(path.join(root, name), '')
  }
})
afterAll(() => rmSync(root, { recursive: true }))

const request = (more: Partial<SeedRequest>): SeedRequest => ({
  base: root,
  workspace: null,
  hostname: 'box',
  net: 'none',
  masks: [],
  ownDirectories: [],
  ...more,
})

describe('findSecrets', () => {
  it('hides files and empties directories, those that exist', async () => {
    const { files, directories } = await findSecrets(root)
    expect([...files].sort()).toEqual(['/etc/shadow-', '/etc/ssh/ssh_host_rsa_key', '/swapfile'])
    expect(directories.map((directory) => directory.path).sort()).toEqual([
      '/data/me',
      '/etc/ssl/private',
      '/home/you',
      '/var/lib/docker',
      '/var/lib/pg',
    ])
    expect(directories.every(({ opaque, mode }) => opaque && mode === 0o750)).toBe(true)
  })
})

describe('planSeed', () => {
  it('covers the host’s own directories and its secrets when the base is the host', async () => {
    const seed = await planSeed(request({ base: '/', ownDirectories: ['/srv/deltabox', '/run/deltabox/x'] }))
    const covered = seed.directories.filter(({ opaque }) => opaque).map((directory) => directory.path)
    expect(covered).toEqual(
      expect.arrayContaining(['/proc', '/sys', '/dev', '/run', '/tmp', '/root', '/home']),
    )
    expect(seed.directories).toContainEqual({ path: '/tmp', mode: 0o1777, opaque: true })
    expect(seed.directories).toContainEqual({ path: '/root', mode: 0o700, opaque: true })
    expect(seed.directories).toContainEqual({ path: '/run/lock', mode: 0o1777, opaque: false })
    expect(seed.hide).toContain('/srv/deltabox')
    expect(seed.hide).not.toContain('/run/deltabox/x')
    expect(seed.files.map((file) => file.path)).toEqual([
      '/etc/hostname',
      '/etc/hosts',
      '/etc/resolv.conf',
      '/etc/shadow',
      '/etc/gshadow',
    ])
  })

  it('leaves another base as it is, but for what programs need', async () => {
    const seed = await planSeed(request({}))
    expect(seed.hide).toEqual([])
    expect(seed.directories.map((directory) => directory.path)).toEqual([
      '/proc',
      '/sys',
      '/dev',
      '/run',
      '/tmp',
      '/root',
    ])
    expect(seed.directories.some(({ opaque }) => opaque)).toBe(false)
    expect(seed.files.map((file) => [file.path, Buffer.from(file.content).toString()])).toEqual([
      ['/etc/hostname', 'box\n'],
      ['/etc/hosts', '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\tbox\n'],
      ['/etc/resolv.conf', ''],
    ])
  })

  it('hides what was asked, and the daemon’s own directories below a base', async () => {
    const seed = await planSeed(
      request({ masks: ['/etc/ssh/', '/x'], ownDirectories: [`${root}/data/dbx`, '/elsewhere'] }),
    )
    expect(seed.hide).toEqual(['/etc/ssh', '/x', '/data/dbx'])
  })

  it('takes a mask however it is spelled', async () => {
    for (const mask of ['/data', '/data/', '//data//', '/x/../data/.']) {
      const seed = await planSeed(request({ masks: [mask], workspace: '/data/me/project' }))
      expect(seed.hide).toEqual([])
      expect(seed.directories).toContainEqual({ path: '/data', mode: 0o755, opaque: true })
    }
  })

  it('does not hide a second time what lies in a covered directory', async () => {
    const seed = await planSeed(request({ base: '/', masks: ['/root/secret/', '/home/me', '/tmp/x'] }))
    expect(seed.hide.filter((target) => /^\/(root|home|tmp)\//.test(target))).toEqual([])
  })

  it('empties a masked directory that the workspace lies in', async () => {
    const seed = await planSeed(request({ masks: ['/data'], workspace: '/data/me/project' }))
    expect(seed.hide).toEqual([])
    expect(seed.directories).toContainEqual({ path: '/data', mode: 0o755, opaque: true })
  })
})

describe('lockedShadow', () => {
  it('locks root and everybody else', () => {
    expect(
      lockedShadow('root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n\n# no entry\n'),
    ).toBe('root:*:19000:0:99999:7:::\nme:*:19000:0:99999:7:::\n')
    expect(lockedGshadow('root:x:0:\nsudo:x:27:me,you\n')).toBe('root:*::\nsudo:*::me,you\n')
  })
})

describe('withoutCredentials', () => {
  it('keeps where packages come from and drops who asks', () => {
    const npmrc = [
      'registry=https://npm.example/',
      '@scope:registry = https://npm.example/scope/',
      'strict-ssl=false',
      '//npm.example/:_authToken=abc',
      '//npm.example/:_auth=abc',
      '//npm.example/:_password=abc',
      '//npm.example/:username=me',
      '_auth=abc',
      'key="-----BEGIN PRIVATE KEY-----"',
      '//npm.example/:keyfile=/root/key',
      'proxy=http://me:secret@proxy.example:8080/',
      '# registry=https://me:secret@old.example/',
      '',
    ]
    expect(withoutCredentials(npmrc.join('\n'))).toBe(
      'registry=https://npm.example/\n@scope:registry = https://npm.example/scope/\nstrict-ssl=false\n',
    )
  })
})
