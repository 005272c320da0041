/** Checkpoints, rollbacks and forks through the SDK. */

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BaseNode, type CheckpointNode, Sandbox, type SandboxNode } from 'deltabox'
import { describe, expect, it } from 'vitest'
import { enginesOf } from './support/engines.js'
import { besidesDurable, seenEvents } from './support/seen-events.js'
import { sh, useBoxes } from './support/use-boxes.js'

const { create, keep, the } = useBoxes()

const DIGEST =
  'cd /srv && find . -printf "%p %y %m %s %l\\n" | sort && find . -type f -exec sha256sum {} + | sort'

describe('a checkpoint', () => {
  it('tells what it is', async () => {
    const box = await create()
    const first = await box.checkpoint()
    expect({ ...first }).toMatchObject({
      id: expect.stringMatching(/^cp-[a-z2-7]{10}$/),
      sandbox: box.id,
      parent: null,
      label: null,
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      processes: expect.any(Number),
      files: expect.any(Number),
      memoryBytes: 0,
    })
    await sh(box, 'head -c 300000 /dev/urandom > /srv/data')
    const second = await box.checkpoint('with data')
    expect({ ...second }).toMatchObject({ parent: first.id, label: 'with data', unchanged: false })
    expect(second.blockingMs).toBeGreaterThan(0)
    await expect
      .poll(async () => (await Sandbox.getCheckpoint(second.id, { client: the.client })).fileBytes)
      .toBeGreaterThanOrEqual(300_000)
    expect(second.depth).toBeGreaterThan(0)
    expect(box.info.checkpoint).toBe(second.id)
    expect((await Sandbox.connect(box.id, { client: the.client })).info.checkpoint).toBe(second.id)
    expect((await box.checkpoints()).map((checkpoint) => checkpoint.id)).toEqual([first.id, second.id])
    for (const name of [second.id, second.id.slice(0, 8)]) {
      expect((await Sandbox.getCheckpoint(name, { client: the.client })).label).toBe('with data')
    }
  })

  it('of which nothing was written since the last is unchanged', async () => {
    const box = await create()
    await sh(box, 'echo 1 > /srv/f')
    const first = await box.checkpoint()
    const second = await box.checkpoint()
    expect(second).toMatchObject({ parent: first.id, unchanged: true, fileBytes: 0, depth: first.depth })
    await sh(box, 'echo 2 > /srv/f')
    expect(await box.checkpoint()).toMatchObject({ parent: second.id, unchanged: false })
    await box.rollback(second)
    expect(await sh(box, 'cat /srv/f')).toBe('1\n')
  })

  it('can be given another label and none', async () => {
    const box = await create()
    const checkpoint = await box.checkpoint('one')
    await checkpoint.relabel('two')
    expect((await Sandbox.getCheckpoint(checkpoint.id, { client: the.client })).label).toBe('two')
    await checkpoint.relabel(null)
    expect([
      checkpoint.label,
      (await Sandbox.getCheckpoint(checkpoint.id, { client: the.client })).label,
    ]).toEqual([null, null])
  })

  it('does not disturb what runs: no line of a log is lost or doubled, and the process is the same', async () => {
    const box = await create()
    const writer = await box.commands.start(
      'cd /srv; i=0; while [ ! -e stop ]; do echo $i >> log; i=$((i+1)); sleep 0.002; done; echo $i; exit 3',
      { timeoutMs: 60_000 },
    )
    for (let round = 0; round < 100; round++) await box.checkpoint()
    await box.files.write('/srv/stop', '')
    let printed = ''
    for await (const piece of writer.stdout) printed += piece
    expect((await writer.wait()).exitCode).toBe(3)
    const lines = Number(printed)
    expect(lines).toBeGreaterThan(0)
    expect(await box.files.read('/srv/log')).toBe(
      Array.from({ length: lines }, (_, at) => `${at}\n`).join(''),
    )
  })
})

describe('a rollback', () => {
  it('brings every file back, also those that are gone, and forwards too', async () => {
    const box = await create()
    await sh(box, 'cd /srv; mkdir -p d/e; echo a > a; echo b > d/b; ln -s a link; chmod 640 a; ln d/b hard')
    const early = await box.checkpoint()
    const then = await sh(box, DIGEST)
    await sh(box, 'cd /srv; echo more >> a; rm -r d; mv link moved; chmod 4755 a; mkdir new; echo x > new/x')
    const late = await box.checkpoint()
    const now = await sh(box, DIGEST)
    await sh(box, 'rm -rf /srv/*')

    const done = await box.rollback(early)
    expect(done).toMatchObject({
      sandbox: box.id,
      checkpoint: early.id,
      source: 'image',
      ms: expect.any(Number),
    })
    expect(await sh(box, DIGEST)).toBe(then)
    expect((await Sandbox.connect(box.id, { client: the.client })).info.checkpoint).toBe(early.id)
    await box.rollback(late.id)
    expect(await sh(box, DIGEST)).toBe(now)
    await box.rollback(early)
    expect(await sh(box, DIGEST)).toBe(then)
    expect(await box.checkpoint()).toMatchObject({ parent: early.id })
  })

  it('ends what that state does not have, and says so to whoever uses it', async () => {
    const box = await create()
    const before = await box.checkpoint()
    const sleeper = await box.commands.start(['sleep', '1000'])
    const shell = await box.shell()
    await shell.run('cd /srv')
    const done = await box.rollback(before)
    expect(done.stopped).toBeGreaterThanOrEqual(2)
    expect(done).toMatchObject({ source: 'image', processes: 0, lost: 0 })
    expect(await sleeper.wait()).toMatchObject({ exitCode: null, signal: 'SIGKILL' })
    await expect(shell.run('true')).rejects.toMatchObject({ code: 'process_ended' })
    expect(await sh(box, 'pgrep -c sleep || true')).toBe('0\n')
    expect(await (await box.shell()).run('echo again')).toMatchObject({ stdout: 'again\n' })
  })

  it('brings processes back with their memory and open files, and the handles of commands go on', async () => {
    const box = await create()
    const counter = await box.commands.start(
      ['python3', '-c', 'import sys\nn = 0\nfor line in sys.stdin: n += 1; print(n, flush=True)'],
      { stdin: true },
    )
    const lines = counter.stdout[Symbol.asyncIterator]()
    const count = async (): Promise<string> => {
      await counter.sendStdin('\n')
      return String((await lines.next()).value)
    }
    const shell = await box.shell()
    await shell.run('cd /srv; N=1; exec 9>held; rm held; echo 1 >&9')
    expect([await count(), await count()]).toEqual(['1\n', '2\n'])
    const checkpoint = await box.checkpoint()
    expect(checkpoint).toMatchObject({ processes: 2, lost: 0, unchanged: false })
    expect(checkpoint.memoryBytes).toBeGreaterThan(100_000)
    for (let round = 0; round < 3; round++) {
      expect([await count(), await count()]).toEqual(['3\n', '4\n'])
      await shell.run('cd /; N=$((N + 1)); echo 2 >&9')
      const late = await box.commands.start(['sleep', '1000'])
      expect(await box.rollback(checkpoint)).toMatchObject({
        ...{ source: 'template', stopped: 3, processes: 2, lost: 0 },
      })
      expect(await late.wait()).toMatchObject({ signal: 'SIGKILL' })
      expect(await shell.run('echo $N; pwd; cat /proc/self/fd/9')).toMatchObject({ stdout: '1\n/srv\n1\n' })
      expect((await box.commands.list()).filter(({ state }) => state === 'running').length).toBe(2)
    }
    await counter.kill()
    expect(await counter.wait()).toMatchObject({ signal: 'SIGKILL' })
    expect((await box.rollback(checkpoint)).processes).toBe(2)
    expect(await box.commands.info(counter.process)).toMatchObject({ state: 'running' })
  })

  it('of a workspace leaves the host alone, and what is applied is the state rolled back to', async () => {
    const work = mkdtempSync(join(tmpdir(), 'dbx-'))
    try {
      writeFileSync(join(work, 'source'), 'original')
      const box = await create({ workspace: work })
      await sh(box, 'echo -n good > source')
      const good = await box.checkpoint()
      await sh(box, 'rm source; echo -n bad > other')
      await box.checkpoint()
      await box.rollback(good)
      expect(await sh(box, 'ls; cat source')).toBe('source\ngood')
      expect(readFileSync(join(work, 'source'), 'utf8')).toBe('original')
      expect(await box.apply()).toEqual([{ kind: 'M', path: 'source' }])
      expect(readFileSync(join(work, 'source'), 'utf8')).toBe('good')
    } finally {
      rmSync(work, { recursive: true })
    }
  })
})

describe('a fork', () => {
  it('of a checkpoint gives sandboxes in that state that do not see each other', async () => {
    const work = mkdtempSync(join(tmpdir(), 'dbx-'))
    try {
      writeFileSync(join(work, 'shared'), 'of the host')
      const box = await create({ name: 'parent', workspace: work, env: { COLOR: 'blue' }, pids: 300 })
      await sh(box, 'echo then > /srv/f')
      const before = await box.checkpoint()
      await sh(box, 'echo later > /srv/f')
      const kids = keep(await before.fork(3))
      expect(new Set(kids.map((kid) => kid.id)).size).toBe(3)
      for (const kid of kids) {
        expect(kid.info).toMatchObject({
          name: null,
          state: 'running',
          workspace: work,
          checkpoint: before.id,
          limits: { pids: 300 },
        })
      }
      await Promise.all(kids.map((kid) => sh(kid, `echo ${kid.id} >> /srv/f; echo ${kid.id} > shared`)))
      for (const kid of kids) {
        expect(await sh(kid, 'cat /srv/f shared; echo $COLOR; pwd')).toBe(
          `then\n${kid.id}\n${kid.id}\nblue\n${work}\n`,
        )
      }
      expect(await sh(box, 'cat /srv/f shared')).toBe('later\nof the host')
      await box.kill()
      expect(await sh(kids[0] as Sandbox, 'head -1 /srv/f')).toBe('then\n')
    } finally {
      rmSync(work, { recursive: true })
    }
  })

  it('of a sandbox is of it as it is now, and does not disturb it', async () => {
    const box = await create()
    const sleeper = await box.commands.start(['sleep', '1000'])
    await sh(box, 'echo now > /srv/f')
    const [kid] = keep(await box.fork()) as [Sandbox]
    expect(await sh(kid, 'cat /srv/f; pgrep -c sleep || true')).toBe('now\n1\n')
    const copy = await kid.commands.connect(sleeper.process)
    await copy.kill()
    expect(await copy.wait()).toMatchObject({ signal: 'SIGKILL' })
    expect((await box.commands.list())[0]).toMatchObject({ process: sleeper.process, state: 'running' })
    const [grandchild] = keep(await kid.fork(1)) as [Sandbox]
    await sh(grandchild, 'echo deep > /srv/f')
    expect(await sh(kid, 'cat /srv/f')).toBe('now\n')
  })

  it('can be rolled back to any checkpoint of the family', async () => {
    const box = await create()
    await sh(box, 'echo 1 > /srv/f')
    const first = await box.checkpoint()
    const [kid] = keep(await first.fork()) as [Sandbox]
    await sh(kid, 'echo 2 > /srv/f')
    const second = await kid.checkpoint()
    expect(second).toMatchObject({ sandbox: kid.id, parent: first.id })
    await box.rollback(second)
    expect(await sh(box, 'cat /srv/f')).toBe('2\n')
    await kid.rollback(first)
    expect(await sh(kid, 'cat /srv/f')).toBe('1\n')
  })

  it('has the name that was asked for, and a number', async () => {
    const box = await create({ name: 'twin-2' })
    const before = await box.checkpoint()
    await expect(before.fork({ count: 2, name: 'twin' })).rejects.toMatchObject({ code: 'name_taken' })
    await box.rename('parent')
    const kids = keep(await before.fork({ count: 2, name: 'twin' }))
    expect(kids.map((kid) => kid.name)).toEqual(['twin-1', 'twin-2'])
    expect((await Sandbox.connect('twin-2', { client: the.client })).id).toBe(kids[1]?.id)
    await expect(before.fork({ name: 'sb-1' })).rejects.toMatchObject({ code: 'invalid_request' })
    expect(await Sandbox.list({ client: the.client })).toHaveLength(3)
  })

  it('of many makes them all', async () => {
    const box = await create()
    await sh(box, 'echo one > /srv/f')
    const kids = keep(await box.fork({ count: 16, partial: true }).then((made) => made as Sandbox[]))
    expect(await Promise.all(kids.map((kid) => kid.files.read('/srv/f')))).toEqual(
      Array.from({ length: 16 }, () => 'one\n'),
    )
  })
})

describe('a diff', () => {
  const lines = (changes: readonly { kind: string; path: string; type: string }[]): string[] =>
    changes.map(({ kind, path, type }) => `${kind} ${path} ${type}`)

  it('names what was added, modified and deleted between any two states', async () => {
    const box = await create()
    await sh(
      box,
      'cd /srv; mkdir -p d/sub; echo 1 > d/sub/f; echo 1 > kept; echo 1 > meta; echo 1 > type; echo 1 > gone',
    )
    const early = await box.checkpoint()
    await sh(
      box,
      'cd /srv; mv d moved; echo 2 > kept; chmod 600 meta; rm type gone; mkdir type; ln -s kept link',
    )
    const late = await box.checkpoint()
    await sh(box, 'cd /srv; rm link; echo 3 > new')
    const expected = [
      'D /srv/d directory',
      'D /srv/d/sub directory',
      'D /srv/d/sub/f file',
      'D /srv/gone file',
      'M /srv/kept file',
      'A /srv/link symlink',
      'M /srv/meta file',
      'A /srv/moved directory',
      'A /srv/moved/sub directory',
      'A /srv/moved/sub/f file',
      'M /srv/type directory',
    ]
    expect(lines(await late.diff(early))).toEqual(expected)
    expect(lines(await box.diff(late))).toEqual(['D /srv/link symlink', 'A /srv/new file'])
    expect(lines(await Sandbox.diff(late, early, { client: the.client }))).toContain('A /srv/gone file')
    expect(lines(await early.diff())).toEqual([
      'A /srv/d directory',
      'A /srv/d/sub directory',
      'A /srv/d/sub/f file',
      'A /srv/gone file',
      'A /srv/kept file',
      'A /srv/meta file',
      'A /srv/type file',
    ])
    expect(await late.diff(late)).toEqual([])
    const meta = (await late.diff(early)).find(({ path }) => path === '/srv/meta')
    expect(meta).toMatchObject({ mode: 0o600, uid: 0, gid: 0, size: 2, before: { mode: 0o644, size: 2 } })
  })

  it('covers the workspace, at its path', async () => {
    const work = mkdtempSync(join(tmpdir(), 'dbx-'))
    try {
      mkdirSync(join(work, 'd'))
      writeFileSync(join(work, 'd', 'f'), '1')
      const box = await create({ workspace: work })
      await sh(box, 'echo 2 > d/f; echo 2 > /srv/g')
      expect(lines(await box.diff())).toEqual(
        [`M ${work}/d/f file`, 'A /srv/g file'].sort((a, b) => (a.slice(2) < b.slice(2) ? -1 : 1)),
      )
    } finally {
      rmSync(work, { recursive: true })
    }
  })
})

type Shape = string | { [node: string]: Shape[] }

/** Ids and structure only. */
function shapeOf(node: BaseNode | CheckpointNode | SandboxNode): Shape {
  if (node.kind === 'sandbox') return node.id
  return { [node.kind === 'base' ? 'base' : node.id]: node.children.map(shapeOf) }
}

describe('the tree', () => {
  it('hangs sandboxes under the checkpoints they stand on', async () => {
    const box = await create({ name: 'first' })
    const other = await create()
    expect(shapeOf(await box.tree())).toEqual({ base: [box.id] })
    const one = await box.checkpoint('one')
    const two = await box.checkpoint('two')
    const [kid] = keep(await one.fork()) as [Sandbox]
    const root = await box.tree()
    expect(root).toMatchObject({ kind: 'base', base: '/', workspace: null })
    const [under] = root.children as [CheckpointNode]
    expect(under).toMatchObject({ kind: 'checkpoint', id: one.id, label: 'one' })
    expect(new Set(under.children.map((node) => JSON.stringify(shapeOf(node))))).toEqual(
      new Set([JSON.stringify({ [two.id]: [box.id] }), JSON.stringify(kid.id)]),
    )
    expect(shapeOf(await kid.tree())).toEqual(shapeOf(root))
    await box.rollback(one)
    const moved = (await box.tree()).children[0] as CheckpointNode
    expect(new Set(moved.children.map((node) => node.id))).toEqual(new Set([two.id, box.id, kid.id]))
    const all = await Sandbox.tree({ client: the.client })
    expect(all.map((family) => JSON.stringify(shapeOf(family)))).toContain(
      JSON.stringify({ base: [other.id] }),
    )
  })
})

describe('deleting', () => {
  it('a checkpoint keeps what stands on it and came from it, which moves to its parent', async () => {
    const box = await create()
    await sh(box, 'echo 1 > /srv/a')
    const one = await box.checkpoint()
    await sh(box, 'echo 2 > /srv/b')
    const two = await box.checkpoint()
    await sh(box, 'echo 3 > /srv/c')
    const three = await box.checkpoint()
    await two.delete()
    await two.delete()
    await expect(box.rollback(two)).rejects.toMatchObject({ code: 'checkpoint_not_found' })
    expect((await Sandbox.getCheckpoint(three.id, { client: the.client })).parent).toBe(one.id)
    await three.delete()
    expect((await Sandbox.connect(box.id, { client: the.client })).info.checkpoint).toBe(one.id)
    expect(await sh(box, 'cat /srv/a /srv/b /srv/c')).toBe('1\n2\n3\n')
    expect((await box.diff(one)).map(({ path }) => path)).toEqual(['/srv/b', '/srv/c'])
    await box.rollback(one)
    expect(await sh(box, 'cat /srv/*')).toBe('1\n')
  })

  it('a sandbox keeps its checkpoints, unless they are asked to go and nothing needs them', async () => {
    const box = await create()
    await sh(box, 'echo 1 > /srv/f')
    const one = await box.checkpoint()
    const two = await box.checkpoint()
    expect(await box.kill()).toEqual({ checkpoints: 2 })
    expect(await box.kill()).toBeNull()
    const [kid] = keep(await two.fork()) as [Sandbox]
    expect(await sh(kid, 'cat /srv/f')).toBe('1\n')
    await kid.checkpoint()
    expect(await kid.kill({ checkpoints: true })).toEqual({ checkpoints: 0 })
    await one.delete()
    await two.delete()
    await expect(two.fork()).rejects.toMatchObject({ code: 'checkpoint_not_found' })
  })
})

describe('dryRun and transaction', () => {
  it('put everything back and leave no checkpoint', async () => {
    const box = await create()
    const before = await box.checkpoint()
    await sh(box, 'echo kept > /srv/f')
    const status = await box.dryRun(async () => (await box.commands.run('rm /srv/f; cat /srv/f')).exitCode)
    expect(status).toBe(1)
    expect(await sh(box, 'cat /srv/f')).toBe('kept\n')
    await expect(
      box.transaction(async () => {
        await sh(box, 'rm /srv/f')
        throw new Error('no good')
      }),
    ).rejects.toThrow('no good')
    expect(await sh(box, 'cat /srv/f')).toBe('kept\n')
    expect(await box.transaction(() => sh(box, 'echo done | tee /srv/f'))).toBe('done\n')
    expect(await sh(box, 'cat /srv/f')).toBe('done\n')
    expect((await box.checkpoints()).map(({ id }) => id)).toEqual([before.id])
  })

  it('can hold each other and checkpoints that stay', async () => {
    const box = await create()
    const inner = await box.dryRun(async () => {
      await sh(box, 'echo inside > /srv/f')
      await box.dryRun(() => sh(box, 'rm /srv/f'))
      expect(await sh(box, 'cat /srv/f')).toBe('inside\n')
      return box.checkpoint('inside')
    })
    expect(await box.files.exists('/srv/f')).toBe(false)
    await box.rollback(inner)
    expect(await sh(box, 'cat /srv/f')).toBe('inside\n')
  })
})

describe('errors', () => {
  it('name what is not there or cannot be', async () => {
    const box = await create()
    const other = await create()
    const foreign = await other.checkpoint()
    const code = async (work: Promise<unknown>): Promise<string> =>
      work.then(
        () => 'none',
        (error) => error.code,
      )
    expect(await code(box.rollback('cp-aaaaaaaaaa'))).toBe('checkpoint_not_found')
    expect(await code(Sandbox.getCheckpoint('cp-aaaaaaaaaa', { client: the.client }))).toBe(
      'checkpoint_not_found',
    )
    expect(await code(box.rollback(foreign))).toBe('checkpoint_of_other_base')
    expect(await code(box.diff(foreign))).toBe('checkpoint_of_other_base')
    expect(await code(box.diff('sb-aaaaaaaaaa'))).toBe('sandbox_not_found')
    expect(await code(box.fork(0))).toBe('invalid_request')
    expect(await code(box.fork(257))).toBe('invalid_request')
    expect(await code(box.checkpoint(''))).toBe('invalid_request')
    expect(await code(box.checkpoint({ signal: AbortSignal.abort() }))).toBe('aborted')
    for (const name of ['base', 'cp-x', 'sb-x']) expect(await code(box.rename(name))).toBe('invalid_request')
    await box.kill()
    expect(await code(box.checkpoint())).toBe('sandbox_not_found')
  })

  it('refuse a checkpoint, and a fork, that a process stands in the way of, and everything runs on', async () => {
    const box = await create()
    const script = [
      'import ctypes, os, time',
      'if os.fork() == 0:',
      '    ctypes.CDLL(None).ptrace(0, 0, 0, 0)',
      '    open("/srv/child", "w").write(str(os.getpid()))',
      'time.sleep(1000)',
    ]
    const tracer = await box.commands.start(['python3', '-c', script.join('\n')])
    await expect.poll(() => sh(box, 'cat /srv/child 2>/dev/null || true')).not.toBe('')
    const pid = Number(await sh(box, 'cat /srv/child'))
    await expect(box.checkpoint()).rejects.toMatchObject({
      code: 'checkpoint_refused',
      details: {
        objects: [
          {
            pid,
            command: 'python3',
            reason: 'a debugger traces it',
          },
        ],
      },
    })
    await expect(box.fork()).rejects.toMatchObject({ code: 'checkpoint_refused' })
    expect(await box.checkpoints()).toEqual([])
    expect((await box.commands.info(tracer.process)).state).toBe('running')
    await tracer.kill()
    await tracer.wait()
    expect(await box.checkpoint()).toMatchObject({ parent: null, unchanged: false })
  })
})

describe('after the daemon is killed', () => {
  it('checkpoints are there, can be rolled back to and forked', async () => {
    const box = await create()
    await sh(box, 'echo 1 > /srv/f')
    const one = await box.checkpoint('one')
    await sh(box, 'echo 2 > /srv/f')
    await the.daemon.kill()
    await the.daemon.start()
    expect(await sh(box, 'cat /srv/f')).toBe('2\n')
    const two = await box.checkpoint()
    expect(two.parent).toBe(one.id)
    await box.rollback(one)
    expect(await sh(box, 'cat /srv/f')).toBe('1\n')
    const [kid] = keep(await two.fork()) as [Sandbox]
    expect(await sh(kid, 'cat /srv/f')).toBe('2\n')
    expect((await box.checkpoints()).map(({ label }) => label)).toEqual(['one', null])
  })
})

describe('the processes of a checkpoint', () => {
  it('are there when its sandbox is gone, and when the daemon was killed', async () => {
    const box = await create()
    const { process } = await box.commands.start(['sh', '-c', 'echo here > /srv/f; sleep 1000; true'])
    await expect.poll(() => box.files.exists('/srv/f')).toBe(true)
    const checkpoint = await box.checkpoint()
    await box.kill()
    await the.daemon.kill()
    await the.daemon.start()
    const [kid] = keep(await checkpoint.fork()) as [Sandbox]
    expect(await sh(kid, 'cat /srv/f; pgrep -c sleep')).toBe('here\n1\n')
    expect(await kid.commands.info(process)).toMatchObject({ state: 'running' })
    await checkpoint.delete()
  })

  it('that ended with their engine are told of as lost: then the files come back alone', async () => {
    const box = await create()
    const sleeper = await box.commands.start(['sh', '-c', 'echo here > /srv/f; sleep 1000; true'])
    await expect.poll(() => box.files.exists('/srv/f')).toBe(true)
    const checkpoint = await box.checkpoint({ disk: false })
    expect(checkpoint).toMatchObject({ processes: 2, lost: 0 })
    for (const engine of enginesOf(the.daemon).values()) process.kill(engine, 'SIGKILL')
    await expect
      .poll(async () => (await Sandbox.connect(box.id, { client: the.client })).info.state)
      .toBe('dead')
    expect(await box.rollback(checkpoint)).toMatchObject({ source: 'image', processes: 0, lost: 2 })
    expect(await Sandbox.getCheckpoint(checkpoint.id, { client: the.client })).toMatchObject({
      processes: 2,
      lost: 2,
    })
    expect(await sh(box, 'cat /srv/f; pgrep -c sleep || true')).toBe('here\n0\n')
    await expect(box.commands.info(sleeper.process)).rejects.toMatchObject({ code: 'process_not_found' })
    const [kid] = keep(await checkpoint.fork()) as [Sandbox]
    expect(await sh(kid, 'cat /srv/f; pgrep -c sleep || true')).toBe('here\n0\n')
  })
})

describe('events', () => {
  it('tell of checkpoints, rollbacks and forks', async () => {
    const stream = await the.daemon.open('GET', '/v1/events')
    const seen = seenEvents(stream)
    const box = await create()
    const point = await box.checkpoint()
    await box.rollback(point)
    const [kid] = keep(await point.fork()) as [Sandbox]
    await point.delete()
    await expect.poll(() => besidesDurable(seen).at(-1)?.type).toBe('checkpoint.removed')
    stream.destroy()
    expect(besidesDurable(seen).map(({ type, sandbox, checkpoint }) => [type, sandbox, checkpoint])).toEqual([
      ['sandbox.created', box.id, undefined],
      ['checkpoint.created', box.id, point.id],
      ['sandbox.rolled-back', box.id, point.id],
      ['sandbox.created', kid.id, undefined],
      ['sandbox.forked', kid.id, point.id],
      ['checkpoint.removed', box.id, point.id],
    ])
  })
})
