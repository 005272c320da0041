import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Reply, TestDaemon } from './support/daemon.js'

let daemon: TestDaemon
let workspaces: string
let workspace: string
let box: string
let count = 0

beforeAll(async () => {
  daemon = await TestDaemon.start()
  workspaces = mkdtempSync(path.join(tmpdir(), 'dbx-ws-'))
})
afterAll(async () => {
  await daemon.clean()
  rmSync(workspaces, { recursive: true })
})

beforeEach(async () => {
  count += 1
  workspace = path.join(workspaces, `w${count}`)
  mkdirSync(path.join(workspace, 'src/deep'), { recursive: true })
  writeFileSync(host('a.txt'), 'a\n')
  writeFileSync(host('b.txt'), 'b\n')
  writeFileSync(host('src/c.txt'), 'c\n')
  writeFileSync(host('src/deep/d.txt'), 'd\n')
  symlinkSync('a.txt', host('link'))
  box = (await daemon.create({ workspace })).id
})

const host = (name: string): string => path.join(workspace, name)
const apply = (body: object = {}): Promise<Reply> => daemon.call('POST', `/v1/sandboxes/${box}/apply`, body)
async function inside(script: string): Promise<void> {
  const { exitCode, stderr } = await daemon.run(box, `set -e\n${script}`)
  expect([exitCode, stderr]).toEqual([0, ''])
}

describe('apply', () => {
  it('finds nothing where nothing changed', async () => {
    await inside('cat a.txt src/c.txt > /dev/null; touch a.txt; chmod 644 a.txt')
    expect((await apply()).json).toEqual({ changes: [], skipped: [] })
  })

  it('carries out what was asked, and only then', async () => {
    await inside(`
      echo changed > a.txt
      rm b.txt
      mkdir -m 750 new; echo n > new/n.txt; chmod 755 new/n.txt; mkdir new/empty
      ln -s /etc/passwd new/absolute
      ln -sf b.txt link
      rm -r src/deep; echo file > src/deep
      mkfifo new/pipe`)
    const changes = [
      { kind: 'M', path: 'a.txt' },
      { kind: 'D', path: 'b.txt' },
      { kind: 'M', path: 'link' },
      { kind: 'A', path: 'new' },
      { kind: 'A', path: 'new/absolute' },
      { kind: 'A', path: 'new/empty' },
      { kind: 'A', path: 'new/n.txt' },
      { kind: 'M', path: 'src/deep' },
      { kind: 'D', path: 'src/deep/d.txt' },
    ]
    const skipped = [{ path: 'new/pipe', type: 'fifo' }]
    const dry = await apply({ dryRun: true })
    expect([dry.status, dry.json]).toEqual([200, { changes, skipped }])
    expect(readFileSync(host('a.txt'), 'utf8')).toBe('a\n')

    expect((await apply()).json).toEqual({ changes, skipped })
    expect(readFileSync(host('a.txt'), 'utf8')).toBe('changed\n')
    expect(existsSync(host('b.txt'))).toBe(false)
    expect(readlinkSync(host('link'))).toBe('b.txt')
    expect(statSync(host('new')).mode & 0o777).toBe(0o750)
    expect(statSync(host('new/n.txt')).mode & 0o777).toBe(0o755)
    expect(statSync(host('new/empty')).isDirectory()).toBe(true)
    expect(readlinkSync(host('new/absolute'))).toBe('/etc/passwd')
    expect(existsSync(host('new/pipe'))).toBe(false)
    expect(readFileSync(host('src/deep'), 'utf8')).toBe('file\n')
    expect((await apply()).json).toEqual({ changes: [], skipped })
  })

  it('can be repeated after further work', async () => {
    await inside('echo 1 > a.txt; echo 1 > new.txt')
    await apply()
    await inside('echo 2 > a.txt; echo 2 > new.txt; rm src/c.txt; echo more >> src/deep/d.txt')
    expect((await apply()).status).toBe(200)
    expect(readFileSync(host('new.txt'), 'utf8')).toBe('2\n')
    await inside('rm new.txt; mkdir src/c.txt')
    expect((await apply()).json.changes).toEqual([
      { kind: 'D', path: 'new.txt' },
      { kind: 'A', path: 'src/c.txt' },
    ])
    expect(statSync(host('src/c.txt')).isDirectory()).toBe(true)
  })

  it('names all that changed on the host since, and applies nothing', async () => {
    await inside(
      'echo sandbox > a.txt; rm b.txt; echo sandbox > both.txt; echo x > src/c.txt; rm -r src/deep; echo n > n.txt',
    )
    writeFileSync(host('a.txt'), 'host\n')
    writeFileSync(host('b.txt'), 'host\n')
    writeFileSync(host('both.txt'), 'host\n')
    writeFileSync(host('src/deep/added-on-host.txt'), 'host\n')
    rmSync(host('src/c.txt'))
    const reply = await apply()
    expect([reply.status, reply.json.error.code]).toEqual([409, 'apply_conflict'])
    expect(reply.json.error.details.paths.sort()).toEqual([
      'a.txt',
      'b.txt',
      'both.txt',
      'src/deep/added-on-host.txt',
    ])
    expect(existsSync(host('n.txt'))).toBe(false)
    expect(readFileSync(host('a.txt'), 'utf8')).toBe('host\n')
  })

  it('takes the same change on both sides for none', async () => {
    await inside('echo same > a.txt; echo new > new.txt')
    writeFileSync(host('a.txt'), 'same\n')
    writeFileSync(host('new.txt'), 'new\n')
    expect((await apply()).json.changes).toEqual([])
  })

  it('gives files of the sandbox’s root to the owner of the place', async () => {
    chownSync(workspace, 1234, 1234)
    chownSync(host('b.txt'), 4321, 4321)
    rmSync(host('src'), { recursive: true })
    box = (await daemon.create({ workspace })).id
    await inside(
      'echo n > n.txt; mv b.txt t; cp t b.txt; echo x >> b.txt; rm t; echo o > o.txt; chown 77:88 o.txt',
    )
    expect((await apply()).status).toBe(200)
    const owners = ['n.txt', 'b.txt', 'o.txt'].map((name) => [
      lstatSync(host(name)).uid,
      lstatSync(host(name)).gid,
    ])
    expect(owners).toEqual([
      [1234, 1234],
      [4321, 4321],
      [77, 88],
    ])
  })

  it('carries modes and files with any name', async () => {
    chmodSync(host('a.txt'), 0o600)
    box = (await daemon.create({ workspace })).id
    await inside(`chmod 640 a.txt; chmod 700 src; printf x > "$(printf 'odd\\377 name\\nline')"`)
    expect((await apply()).status).toBe(200)
    expect(statSync(host('a.txt')).mode & 0o777).toBe(0o640)
    expect(statSync(host('src')).mode & 0o777).toBe(0o700)
    const odd = Buffer.concat([
      Buffer.from(`${workspace}/odd`),
      Buffer.from([255]),
      Buffer.from(' name\nline'),
    ])
    expect(readFileSync(odd, 'utf8')).toBe('x')
  })

  it('never writes through a link of the host', async () => {
    const outside = path.join(workspaces, `outside${count}`)
    mkdirSync(outside)
    await inside('echo new > src/new.txt')
    rmSync(host('src'), { recursive: true })
    symlinkSync(outside, host('src'))
    const reply = await apply()
    expect([reply.status, reply.json.error.code]).toEqual([409, 'apply_conflict'])
    expect(existsSync(path.join(outside, 'new.txt'))).toBe(false)
  })

  it('needs a workspace', async () => {
    box = (await daemon.create()).id
    expect((await apply()).json.error.code).toBe('no_workspace')
  })
})

describe('apply across checkpoints', () => {
  const checkpoint = async (of = box): Promise<string> =>
    (await daemon.call('POST', `/v1/sandboxes/${of}/checkpoints`, {})).json.id
  const rollback = (to: string): Promise<Reply> =>
    daemon.call('POST', `/v1/sandboxes/${box}/rollback`, { checkpoint: to })
  const fork = async (of: string): Promise<string> =>
    (await daemon.call('POST', `/v1/${of.startsWith('cp-') ? 'checkpoints' : 'sandboxes'}/${of}/fork`, {}))
      .json.sandboxes[0].id

  it('brings what all layers changed together', async () => {
    await inside('echo 1 > a.txt; echo 1 > new.txt; rm -r src/deep; mkdir gone; echo x > gone/f')
    await checkpoint()
    await inside('echo 2 > new.txt; rm -r gone; rm b.txt; echo moved > moved.txt')
    await checkpoint()
    await inside('rm a.txt; mkdir src/deep; echo again > src/deep/d.txt')
    expect((await apply()).json.changes).toEqual([
      { kind: 'D', path: 'a.txt' },
      { kind: 'D', path: 'b.txt' },
      { kind: 'A', path: 'moved.txt' },
      { kind: 'A', path: 'new.txt' },
      { kind: 'M', path: 'src/deep/d.txt' },
    ])
    expect(readFileSync(host('new.txt'), 'utf8')).toBe('2\n')
    expect(readFileSync(host('src/deep/d.txt'), 'utf8')).toBe('again\n')
    expect((await apply()).json.changes).toEqual([])
  })

  it('applies the state that was rolled back to, over what was applied before', async () => {
    await inside('echo early > a.txt; echo early > new.txt')
    const early = await checkpoint()
    await inside('echo late > a.txt; rm new.txt; echo late > late.txt')
    expect((await apply()).status).toBe(200)
    expect((await rollback(early)).status).toBe(200)
    expect((await apply()).json.changes).toEqual([
      { kind: 'M', path: 'a.txt' },
      { kind: 'D', path: 'late.txt' },
      { kind: 'A', path: 'new.txt' },
    ])
    expect(readFileSync(host('a.txt'), 'utf8')).toBe('early\n')
    expect(existsSync(host('late.txt'))).toBe(false)
  })

  it('removes what was applied, frozen and then removed inside', async () => {
    await inside('echo n > n.txt; mkdir dir; echo m > dir/m.txt')
    await apply()
    await checkpoint()
    await inside('rm n.txt; rm -r dir')
    expect((await apply()).json.changes).toEqual([
      { kind: 'D', path: 'dir' },
      { kind: 'D', path: 'dir/m.txt' },
      { kind: 'D', path: 'n.txt' },
    ])
  })

  it('of a fork takes what its source had applied for its own, and nobody else’s', async () => {
    await inside('echo source > a.txt; echo source > new.txt')
    await apply()
    const kid = await fork(box)
    const state = await checkpoint()
    const other = await fork(state)
    box = kid
    await inside('echo kid > a.txt; echo kid > new.txt')
    expect((await apply()).status).toBe(200)
    expect(readFileSync(host('a.txt'), 'utf8')).toBe('kid\n')
    box = other
    await inside('echo other > a.txt; echo other > c.txt')
    const refused = await apply()
    expect(refused.json.error).toMatchObject({ code: 'apply_conflict' })
    expect(refused.json.error.details.paths).toContain('a.txt')
    expect(existsSync(host('c.txt'))).toBe(false)
  })

  it('of a sandbox that a fork was promoted to takes what that had applied for its own', async () => {
    const kid = await fork(box)
    const main = box
    box = kid
    await inside('echo kid > a.txt; echo kid > new.txt; echo kid > gone.txt')
    expect((await apply()).status).toBe(200)
    await inside('echo more > a.txt; echo more > new.txt; rm gone.txt')
    box = main
    expect((await daemon.call('POST', `/v1/sandboxes/${box}/promote`, { fork: kid })).status).toBe(200)
    expect((await apply()).json.changes).toEqual([
      { kind: 'M', path: 'a.txt' },
      { kind: 'D', path: 'gone.txt' },
      { kind: 'M', path: 'new.txt' },
    ])
    expect(readFileSync(host('a.txt'), 'utf8')).toBe('more\n')
  })

  it('of a fork sees what the host changed since the first of its family began', async () => {
    await inside('echo source > a.txt')
    writeFileSync(host('a.txt'), 'host\n')
    box = await fork(box)
    expect((await apply()).json.error).toMatchObject({
      code: 'apply_conflict',
      details: { paths: ['a.txt'] },
    })
  })
})
