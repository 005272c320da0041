/** Checkpoints as files: what is in them on another host, and what is refused. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Checkpoint, DeltaBoxError, type ImportOptions, Sandbox } from 'deltabox'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sh, useBoxes } from './support/use-boxes.js'

const { the: here, create, keep } = useBoxes()
const { the: there, keep: keepThere } = useBoxes()

let directory: string
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'dbx-export-'))
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

async function bytesOf(checkpoint: Checkpoint): Promise<Buffer> {
  return Buffer.concat(await (await checkpoint.export()).toArray())
}

async function arrive(content: Uint8Array, options: ImportOptions = {}): Promise<Checkpoint> {
  return (await Sandbox.import(content, { client: there.client, ...options })).checkpoint
}

/** Sandboxes in that state, there. */
async function fork(checkpoint: Checkpoint): Promise<Sandbox> {
  const [kid] = keepThere(await checkpoint.fork())
  if (!kid) throw new Error('one was wanted')
  return kid
}

function families(of: typeof here): string[] {
  return readdirSync(path.join(of.daemon.dataDir, 'families')).sort()
}

/** Everything of every file below, but for numbers of inodes and times of access and of change of these. */
const LOOK = `
import hashlib, os, stat, sys
def look(name):
    st = os.lstat(name)
    kind = stat.S_IFMT(st.st_mode)
    facts = [oct(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns, st.st_rdev]
    facts += [(one, os.getxattr(name, one, follow_symlinks=False)) for one in sorted(os.listxattr(name, follow_symlinks=False))]
    if kind == stat.S_IFREG:
        facts += [st.st_size, st.st_nlink, hashlib.sha256(open(name, 'rb').read()).hexdigest(), st.st_blocks < 4096]
    if kind == stat.S_IFLNK: facts.append(os.readlink(name))
    print(os.fsencode(name), facts)
    if kind == stat.S_IFDIR:
        os.chdir(name)
        for below in sorted(os.listdir(b'.')): look(below)
        os.chdir('..')
sys.setrecursionlimit(10000)
look(b'/root')
`

/** A bit of everything that a layer can hold. */
const MAKE = `
import os, socket, struct
os.chdir('/root')
os.makedirs('plain/deep/deeper'); open('plain/file', 'w').write('content'); os.utime('plain/file', ns=(1, 1234567890123456789))
open('plain/empty', 'w').close()
open(b'plain/not\\xff utf-8\\n', 'w').write('x')
os.link('plain/file', 'plain/second'); os.link('plain/file', 'plain/deep/third')
os.symlink('nowhere', 'plain/link'); os.lchown('plain/link', 1000, 1001)
os.mkfifo('plain/fifo', 0o640)
socket.socket(socket.AF_UNIX).bind('plain/socket')
with open('plain/sparse', 'wb') as f: f.seek(50 << 20); f.write(b'end'); f.truncate(60 << 20)
open('plain/setuid', 'w').write('#!'); os.chown('plain/setuid', 1000, 1000); os.chmod('plain/setuid', 0o4755)
os.setxattr('plain/file', 'user.colour', b'blue'); os.setxattr('plain', 'user.empty', b'')
acl = struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *e) for e in [(1, 6, 0xffffffff), (2, 4, 1234), (4, 4, 0xffffffff), (8, 5, 77), (16, 5, 0xffffffff), (32, 0, 0xffffffff)])
os.setxattr('plain/setuid', 'system.posix_acl_access', acl)
os.setxattr('plain/deep', 'system.posix_acl_default', acl)
open('plain/able', 'w').close(); os.setxattr('plain/able', 'security.capability', struct.pack('<IIIII', 0x02000001, 1 << 10, 0, 0, 0))
os.chmod('plain/deep/deeper', 0o2750); os.chown('plain/deep/deeper', 65534, 65534)
deep = 'deep'
os.mkdir(deep); os.chdir(deep)
for i in range(60): os.mkdir('a' * 50); os.chdir('a' * 50)
open('bottom', 'w').write('here')
`
/** Removed, hidden, renamed: what overlays note of it is in the upper layers. */
const CHANGE = `
import os, shutil
os.chdir('/root')
os.rename('plain/deep', 'moved'); os.mkdir('plain/deep'); open('plain/deep/new', 'w').write('in its place')
os.unlink('plain/empty'); open('plain/file', 'a').write(' and more')
shutil.rmtree('/etc/cron.d', ignore_errors=True); os.makedirs('/etc/cron.d'); open('/etc/cron.d/mine', 'w').close()
os.rename('/etc/default', '/etc/default.old')
os.unlink('/etc/hostname')
`

const LIST = 'cd /etc; ls -a .; ls cron.d default default.old hostname 2>&1 | cat'

async function python(box: Sandbox, program: string, ...args: string[]): Promise<string> {
  const file = `/tmp/program-${Math.random()}.py`
  await box.files.write(file, program)
  return await sh(box, `python3 ${file} ${args.join(' ')}`)
}

describe('what a file holds', () => {
  it('is every file as it was, in each of the checkpoints', async () => {
    const box = await create()
    const states: { checkpoint: Checkpoint; look: string; etc: string }[] = []
    for (const step of [MAKE, CHANGE]) {
      await python(box, step)
      const look = await python(box, LOOK)
      const etc = await sh(box, LIST)
      states.push({ checkpoint: await box.checkpoint(), look, etc })
    }
    const [first, second] = states
    if (!first || !second) throw new Error('two were taken')
    await arrive(await bytesOf(second.checkpoint))
    for (const { checkpoint, look, etc } of states) {
      const kid = await fork(await Sandbox.getCheckpoint(checkpoint.id, { client: there.client }))
      expect(await python(kid, LOOK)).toBe(look)
      expect(await sh(kid, LIST)).toBe(etc)
      expect(await sh(kid, 'cd /root/plain; echo "and so on" >> second; tail -n 1 file')).toContain(
        'and so on',
      )
    }
    expect(await second.checkpoint.diff(first.checkpoint)).toEqual(
      await (await Sandbox.getCheckpoint(second.checkpoint.id, { client: there.client })).diff(
        await Sandbox.getCheckpoint(first.checkpoint.id, { client: there.client }),
      ),
    )
  })

  it('is checkpoints with all that is told of them, and the commands that run', async () => {
    const box = await create()
    const command = await box.commands.start('echo begun; sleep 1000')
    const first = await box.checkpoint('before')
    await sh(box, 'echo 1 > /root/a')
    const second = await box.checkpoint()
    const arrived = await arrive(await bytesOf(second))
    const { id, sandbox, parent, label, createdAt, processes, memoryBytes, files } = second
    expect(arrived).toMatchObject({ id, sandbox, parent, label, createdAt, processes, memoryBytes, files })
    expect(arrived).toMatchObject({ state: 'durable', lost: 0, inMemory: false, depth: 2 })
    const parents = await Sandbox.getCheckpoint(first.id, { client: there.client })
    expect(parents).toMatchObject({ label: 'before', parent: null, depth: 1 })
    const kid = await fork(arrived)
    expect(await kid.commands.list()).toMatchObject([{ process: command.process, state: 'running' }])
    expect((await kid.rollback(parents)).processes).toBe(first.processes)
    const tree = await there.client.json<{ roots: unknown[] }>({ method: 'GET', path: '/v1/tree' })
    expect(JSON.stringify(tree)).toContain(first.id)
  })

  it('can be taken in again where it came from, under other names', async () => {
    const box = await create()
    const command = await box.commands.start('sleep 1000')
    await box.checkpoint()
    await sh(box, 'echo 2 > /root/a')
    const checkpoint = await box.checkpoint('twice')
    const content = await bytesOf(checkpoint)
    for (let round = 0; round < 2; round++) {
      const { checkpoint: again, renamed } = await Sandbox.import(content, { client: here.client })
      expect(renamed).toContainEqual({ from: checkpoint.id, id: again.id })
      expect(renamed).toHaveLength(2)
      expect(again).toMatchObject({ label: 'twice', processes: checkpoint.processes, lost: 0 })
      const [kid] = keep(await again.fork())
      if (!kid) throw new Error('one was wanted')
      expect(await kid.commands.list()).toMatchObject([{ process: command.process, state: 'running' }])
      expect(await sh(kid, 'cat /root/a')).toBe('2\n')
    }
    expect(await sh(box, 'cat /root/a')).toBe('2\n')
  })

  it('is exported again just as well, after the daemon was started anew', async () => {
    const box = await create()
    await box.commands.start('sleep 1000')
    await sh(box, 'echo 3 > /root/a')
    const checkpoint = await box.checkpoint()
    const before = families(there)
    const arrived = await arrive(await bytesOf(checkpoint))
    await there.daemon.kill()
    await there.daemon.start()
    await arrived.delete()
    expect(families(there)).toEqual(before)
    const back = await arrive(await bytesOf(checkpoint))
    const kid = await fork(back)
    const later = await kid.checkpoint()
    const { checkpoint: home } = await Sandbox.import(await bytesOf(later), { client: here.client })
    const [last] = keep(await home.fork())
    if (!last) throw new Error('one was wanted')
    expect(await sh(last, 'cat /root/a; pgrep -c sleep')).toBe('3\n1\n')
  })

  it('are also processes that were not to reach the disk', async () => {
    const box = await create()
    await box.commands.start('sleep 1000')
    const checkpoint = await box.checkpoint({ disk: false })
    expect(await arrive(await bytesOf(checkpoint))).toMatchObject({ imageBytes: expect.any(Number), lost: 0 })
  })

  it('stays whole though the checkpoint is removed meanwhile', async () => {
    const box = await create()
    const all = path.join(here.daemon.dataDir, 'families')
    const family = families(here).find((name) => existsSync(path.join(all, name, 'sandboxes', box.id)))
    await box.commands.start('sleep 1000')
    await sh(box, 'head -c 20000000 /dev/urandom > /root/a; sha256sum /root/a > /root/sum')
    const checkpoint = await box.checkpoint()
    const stream = await checkpoint.export()
    const chunks: Buffer[] = []
    const reader = stream[Symbol.asyncIterator]()
    chunks.push((await reader.next()).value)
    await box.kill({ checkpoints: true })
    await checkpoint.delete()
    await delay(300)
    for (let next = await reader.next(); !next.done; next = await reader.next()) chunks.push(next.value)
    const kid = await fork(await arrive(Buffer.concat(chunks)))
    expect(await sh(kid, 'sha256sum -c /root/sum')).toBe('/root/a: OK\n')
    await expect.poll(() => families(here)).not.toContain(family)
  })
})

describe('a file that is not what was written', () => {
  let content: Buffer
  let before: string[]

  beforeAll(async () => {
    const box = await Sandbox.create({ client: here.client })
    await box.commands.start('sleep 1000')
    await sh(box, 'head -c 100000 /dev/urandom > /root/a')
    content = await bytesOf(await box.checkpoint())
    await box.kill({ checkpoints: true })
    before = families(there)
  })

  async function refused(bytes: Uint8Array): Promise<string> {
    const error = await arrive(bytes).catch((fault: unknown) => fault)
    expect(error).toBeInstanceOf(DeltaBoxError)
    expect((error as DeltaBoxError).code).toBe('import_invalid')
    expect(families(there)).toEqual(before)
    return (error as DeltaBoxError).message
  }

  it('is refused wherever it is cut, and nothing of it stays', async () => {
    for (const length of [0, 7, 20, 100, content.length >> 1, content.length - 1]) {
      expect(await refused(content.subarray(0, length))).toContain('ends too early')
    }
  })

  it('is refused whichever byte is another', async () => {
    for (let at = 0; at < content.length; at += Math.ceil(content.length / 40)) {
      const other = Buffer.from(content)
      other[at] = (other[at] ?? 0) ^ 0x10
      await refused(other)
    }
  })

  it('is refused when it goes on, is of another kind, or of another version', async () => {
    expect(await refused(Buffer.concat([content, Buffer.from('x')]))).toContain('something follows its end')
    expect(await refused(Buffer.alloc(1000))).toContain('no exported checkpoint')
    const newer = Buffer.from(content)
    newer[8] = 9
    expect(await refused(newer)).toContain('format 9')
  })
})

describe('what of a host a file may use', () => {
  it('is nothing but its own file system, unless that is agreed to', async () => {
    const workspace = path.join(directory, 'project')
    const base = path.join(directory, 'base')
    mkdirSync(workspace)
    writeFileSync(path.join(workspace, 'a'), 'of the host\n')
    const box = await create({ workspace, net: 'host' })
    await sh(box, 'echo of the sandbox > b')
    const content = await bytesOf(await box.checkpoint())
    const why = async (options: ImportOptions): Promise<unknown> => {
      const before = families(there)
      const error = (await arrive(content, options).catch((fault: unknown) => fault)) as DeltaBoxError
      expect(families(there)).toEqual(before)
      return `${error.code}: ${error.message}`
    }
    expect(await why({})).toContain(
      `import_refused: cannot import the file: its sandboxes have the workspace ${workspace}`,
    )
    expect(await why({ workspace })).toContain(
      'import_refused: cannot import the file: its sandboxes have the network of the host',
    )
    expect(await why({ workspace: directory, net: 'host' })).toContain('which cannot be elsewhere')
    expect(await why({ workspace: base, net: 'host' })).toContain('workspace_not_found')
    const kid = await fork(await arrive(content, { workspace, net: 'host' }))
    expect(await sh(kid, 'cat a b')).toBe('of the host\nof the sandbox\n')
  })

  it('is asked for when the base is not the host’s own', async () => {
    const box = await create({ base: '/usr/..' })
    const content = await bytesOf(await box.checkpoint())
    expect((await arrive(content)).id).toMatch(/^cp-/)
  })
})

describe('a file on disk', () => {
  it('is there when it is whole, and read by its path', async () => {
    const box = await create()
    await sh(box, 'echo 4 > /root/a')
    const checkpoint = await box.checkpoint()
    const file = path.join(directory, 'state.dbx')
    await checkpoint.exportTo(file)
    expect(readFileSync(file).subarray(0, 8).toString()).toBe('DBXSTATE')
    const { checkpoint: arrived, checkpoints } = await Sandbox.import(file, { client: there.client })
    expect(checkpoints).toBe(1)
    expect(await sh(await fork(arrived), 'cat /root/a')).toBe('4\n')
    await expect(Sandbox.import(`${file}.not`, { client: there.client })).rejects.toMatchObject({
      code: 'invalid_request',
    })
  })

  it('is not there when the daemon ends before it is whole', async () => {
    const box = await create()
    await sh(box, 'head -c 100000000 /dev/urandom > /root/a')
    const checkpoint = await box.checkpoint()
    const stream = await checkpoint.export()
    await new Promise((resolve) => stream.once('readable', resolve))
    await here.daemon.kill()
    await expect(stream.toArray()).rejects.toMatchObject({ code: 'export_failed' })
    await here.daemon.start()
    expect(await sh(box, 'wc -c < /root/a')).toBe('100000000\n')
  })
})
