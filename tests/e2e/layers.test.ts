/** Chains of layers compared and put together by the engine, under real sandboxes. */
import { execFileSync } from 'node:child_process'
import { chownSync, linkSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { TestDaemon, textOf } from './support/daemon.js'

const MERGE_DEPTH = 4

let daemon: TestDaemon
let workspaces: string
let workspace: string
let box: string
let count = 0

beforeAll(async () => {
  daemon = await TestDaemon.start({ DELTABOX_MERGE_DEPTH: String(MERGE_DEPTH) })
  workspaces = mkdtempSync(path.join(tmpdir(), 'dbx-ws-'))
})
afterAll(async () => {
  await daemon.clean()
  rmSync(workspaces, { recursive: true })
})

beforeEach(() => {
  count += 1
  workspace = path.join(workspaces, `w${count}`)
  mkdirSync(path.join(workspace, 'src'), { recursive: true })
  writeFileSync(host('a.txt'), 'a\n')
  writeFileSync(host('src/b.txt'), 'b\n')
})

const host = (name: string): string => path.join(workspace, name)

async function inside(script: string): Promise<string> {
  const { exitCode, stdout, stderr } = await daemon.run(box, `set -e\n${script}`)
  expect([exitCode, stderr]).toEqual([0, ''])
  return stdout
}

async function checkpoint(): Promise<string> {
  const { status, json } = await daemon.call('POST', `/v1/sandboxes/${box}/checkpoints`, {})
  expect([status, json.error]).toEqual([201, undefined])
  return json.id
}

/** Changes below the workspace. */
async function changes(from: string, to: string): Promise<string[]> {
  const { json } = await daemon.get(`/v1/diff?from=${from}&to=${to}`)
  expect(json.error).toBe(undefined)
  return json.changes
    .filter(({ path: name }: { path: string }) => name === workspace || name.startsWith(`${workspace}/`))
    .map(
      ({ kind, path: name }: { kind: string; path: string }) => `${kind} ${path.relative(workspace, name)}`,
    )
}

/** Attributes as Node cannot set them. */
function setAttribute(name: string, attribute: string, hex: string): void {
  execFileSync('python3', [
    '-c',
    'import os,sys; os.setxattr(sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3]))',
    host(name),
    attribute,
    hex,
  ])
}

const CAPABILITY = '0100000200040000000000000000000000000000'
const ACL = '0200000001000700ffffffff02000600d204000004000500ffffffff10000700ffffffff20000500ffffffff'

describe('a comparison', () => {
  it('takes what was only copied up for no change', async () => {
    setAttribute('a.txt', 'security.capability', CAPABILITY)
    setAttribute('src/b.txt', 'system.posix_acl_access', ACL)
    setAttribute('src', 'system.posix_acl_default', ACL)
    chownSync(host('src'), 1234, 1234)
    linkSync(host('a.txt'), host('second-name'))
    box = (await daemon.create({ workspace })).id
    await inside(`
      touch a.txt src/b.txt src
      chmod o+w src/b.txt; chmod o-w src/b.txt
      mv src moved; mv moved src; touch src/x; rm src/x; touch .`)
    expect(await changes('base', box)).toEqual([])
  })
})

/** Random work on /srv and on the workspace: whatever overlayfs keeps track of by marks of its own. */
const WORK = `
import os, random, shutil, sys
r = random.Random(int(sys.argv[1]))
def pick():
    return '/'.join(r.choice('abcd') for _ in range(r.randint(1, 4)))
def write(p):
    os.makedirs(os.path.dirname(p) or '.', exist_ok=True)
    how = os.O_APPEND if r.random() < .5 else os.O_TRUNC
    f = os.open(p, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | how)
    os.write(f, r.randbytes(r.randint(0, 3000))); os.close(f)
def tree(p):
    os.makedirs(p + '/a/b'); write(p + '/a/c'); write(p + '/b')
def again(p):
    os.listdir(p); shutil.rmtree(p); tree(p)
does = [write, write, write, tree, again, os.unlink, os.rmdir,
    lambda p: os.rename(p, pick()), lambda p: os.rename(p, pick()), lambda p: os.rename(p, pick()),
    lambda p: os.link(p, pick()), lambda p: os.symlink(pick(), p), lambda p: os.mkfifo(p),
    lambda p: os.chmod(p, r.randint(0, 0o777) | 0o700), lambda p: os.chown(p, r.randint(0, 9), 0, follow_symlinks=False),
    lambda p: os.setxattr(p, 'user.x', r.randbytes(3)), lambda p: os.utime(p, (r.randint(0, 99), r.randint(0, 99)))]
for top in sys.argv[2:]:
    os.chdir(top)
    for _ in range(40):
        try: r.choice(does)(pick())
        except (OSError, shutil.Error): pass
`

/** Of all that can be seen but inode numbers, which only files that were copied need to keep. */
const DIGEST = `
import hashlib, os, stat, sys
h = hashlib.sha256()
for top in sys.argv[1:]:
    for d, ds, fs in os.walk(top):
        ds.sort()
        for n in ['.'] + sorted(ds + fs):
            p = os.path.join(d, n); s = os.lstat(p)
            h.update(repr((p, s.st_mode, s.st_uid, s.st_gid, s.st_mtime_ns, s.st_size * (not stat.S_ISDIR(s.st_mode)))).encode())
            if stat.S_ISLNK(s.st_mode): h.update(os.readlink(p).encode())
            elif not stat.S_ISFIFO(s.st_mode): h.update(repr([(a, os.getxattr(p, a)) for a in sorted(os.listxattr(p))]).encode())
            if stat.S_ISREG(s.st_mode): h.update(open(p, 'rb').read())
print(h.hexdigest())
`

/** SQLite refuses to write to a database whose file has another inode number than it was opened with. */
const WRITER = `
import os, sqlite3, time
open('/srv/log', 'w').write('written long before')
db = sqlite3.connect('/srv/db'); db.execute('create table t(n)'); db.commit(); db.close()
while not os.path.exists('/srv/go'): time.sleep(.005)
log = open('/srv/log', 'r+'); db = sqlite3.connect('/srv/db')
log.write('now'); log.flush(); db.execute('insert into t values(0)'); db.commit()
number = os.fstat(log.fileno()).st_ino
while not os.path.exists('/srv/stop'):
    log.write('more'); log.flush(); db.execute('insert into t values(1)'); db.commit()
    now = (os.fstat(log.fileno()).st_ino, os.stat('/srv/log').st_ino)
    if now != (number, number): raise SystemExit(f'{number} became {now}')
    time.sleep(.002)
print('ok')
`

describe('layers put together', () => {
  it('show at every checkpoint what was there', async () => {
    box = (await daemon.create({ workspace })).id
    const python = async (program: string, ...argv: string[]): Promise<string> => {
      const { exitCode, stdout, stderr } = await daemon.run(box, ['python3', '-c', program, ...argv])
      expect([exitCode, stderr]).toEqual([0, ''])
      return stdout
    }
    const seed = count
    const states: { id: string; digest: string }[] = []
    for (let step = 0; step < 24; step++) {
      await python(WORK, `${seed * 1000 + step}`, '/srv', workspace)
      const digest = await python(DIGEST, '/srv', workspace)
      states.push({ id: await checkpoint(), digest })
    }
    const last = states.at(-1)?.id
    await expect
      .poll(async () => (await daemon.get(`/v1/checkpoints/${last}`)).json.depth)
      .toBeLessThanOrEqual(MERGE_DEPTH)
    expect(await python(DIGEST, '/srv', workspace)).toBe(states.at(-1)?.digest)
    expect(daemon.logText()).not.toContain('could not be put together')
    for (const { id, digest } of states) {
      const { status } = await daemon.call('POST', `/v1/sandboxes/${box}/rollback`, { checkpoint: id })
      expect(status).toBe(200)
      expect([id, await python(DIGEST, '/srv', workspace)]).toEqual([id, digest])
      expect(await changes(id, box)).toEqual([])
    }
  })

  it('leave files that are open for writing their inode numbers, whatever checkpoints go', async () => {
    box = (await daemon.create()).id
    const { process } = await daemon.startCommand(box, { command: ['python3', '-uc', WRITER] })
    const take = async (): Promise<string> => {
      await inside(`echo ${Math.random()} > /srv/other`)
      return checkpoint()
    }
    for (let step = 0; step < 10; step++) await take()
    await inside('touch /srv/go')
    let last = await take()
    for (let step = 0; step < 20; step++) {
      const next = await take()
      if (step % 2 === 0) await daemon.call('DELETE', `/v1/checkpoints/${last}`)
      last = next
    }
    await inside('touch /srv/stop')
    const frames = await daemon.output(box, process, '?attach=true')
    expect([textOf(frames, 1), textOf(frames, 2)]).toEqual(['ok\n', ''])
    expect(daemon.logText()).not.toContain('could not be put together')
  })
})
