/** The command line, as it is typed. */
import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const deltabox = fileURLToPath(new URL('../../bin/deltabox', import.meta.url))
const top = mkdtempSync(join(tmpdir(), 'dbx-'))
const env = { ...process.env, DELTABOX_DATA: join(top, 'data'), DELTABOX_RUN: join(top, 'run') }

function run(args: readonly string[], input?: Buffer): SpawnSyncReturns<Buffer> {
  return spawnSync(deltabox, args, { env, input, maxBuffer: 2 ** 28 })
}

function text(...args: string[]): string {
  const result = run(args)
  expect(result.status, result.stderr.toString()).toBe(0)
  return result.stdout.toString()
}

// biome-ignore lint/suspicious/noExplicitAny: a test states what it expects of it
function json(...args: string[]): any {
  return JSON.parse(text(...args, '--json'))
}

beforeAll(async () => {
  // none runs yet: all of these start one, and all get the one that wins
  const listings = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const child = spawn(deltabox, ['ls', '--json'], { env })
      const [status] = await once(child, 'exit')
      return status
    }),
  )
  expect(listings).toEqual([0, 0, 0, 0])
  text('create', '--name', 'box')
})
afterAll(() => {
  run(['rm', '--all'])
  run(['daemon', 'stop'])
  rmSync(top, { recursive: true, force: true })
})

describe('JSON', () => {
  it('has the promised fields', () => {
    expect(json('create')).toMatchObject({
      id: expect.stringMatching(/^sb-/),
      name: null,
      base: '/',
      createdMs: expect.any(Number),
    })
    expect(json('ls').sandboxes).toContainEqual(expect.objectContaining({ name: 'box', state: 'running' }))
    expect(json('daemon', 'status')).toMatchObject({
      pid: expect.any(Number),
      url: expect.any(String),
      version: expect.any(String),
    })
    expect(json('doctor')).toMatchObject({
      ok: true,
      checks: expect.arrayContaining([expect.objectContaining({ name: 'kernel', ok: true })]),
    })
    expect(JSON.parse(text('exec', '-d', '--json', 'box', '--', 'sleep', '1'))).toMatchObject({
      process: expect.stringMatching(/^p-/),
    })
    expect(json('ps', 'box').processes[0]).toMatchObject({
      process: expect.any(String),
      pid: expect.any(Number),
      command: expect.any(Array),
      state: expect.any(String),
    })
  })

  it('errors are JSON on stderr, with code and remedy, and status 1', () => {
    const result = run(['ps', 'nobody', '--json'])
    expect(result.status).toBe(1)
    expect(result.stdout.toString()).toBe('')
    expect(JSON.parse(result.stderr.toString()).error).toMatchObject({
      code: 'sandbox_not_found',
      remedy: expect.any(String),
    })
  })

  it('without --json an error is one line that says what to do', () => {
    expect(run(['ps', 'nobody']).stderr.toString()).toMatch(/^deltabox: .*nobody.*\. .*deltabox ls.*\.\n$/)
  })
})

describe('statuses', () => {
  it.each([
    [['exec', 'box', '--', 'true'], 0],
    [['exec', 'box', '--', 'sh', '-c', 'exit 3'], 3],
    [['exec', 'box', '--', 'sh', '-c', 'kill -9 $$'], 137],
    [['exec', 'box', '--', 'nonesuch'], 127],
    [['exec', 'box', '--', '/etc/passwd'], 126],
    [['exec', 'nobody', '--', 'true'], 125],
    [['exec', 'box'], 125],
    [['run', '--rm', '--', 'sh', '-c', 'exit 7'], 7],
    [['run', '--memory', 'x', '--', 'true'], 125],
    [['exec', '--timeout', '0.2', 'box', '--', 'sleep', '60'], 137],
    [['nonsense'], 1],
    [['ls', '--nonsense'], 1],
    [['--help'], 0],
    [['create', '--help'], 0],
  ])('%j ends with %i', (args, status) => {
    expect(run(args).status).toBe(status)
  })

  it('run --rm leaves no sandbox', () => {
    const before = json('ls').sandboxes.length
    text('run', '--rm', '--', 'true')
    expect(json('ls').sandboxes.length).toBe(before)
  })
})

describe('streams', () => {
  it('are binary-safe both ways, and apart', () => {
    const data = randomBytes(3_000_000)
    expect(run(['exec', '-i', 'box', '--', 'cat'], data).stdout.equals(data)).toBe(true)
    const both = run(['exec', 'box', '--', 'sh', '-c', 'echo out; echo err >&2'])
    expect([both.stdout.toString(), both.stderr.toString()]).toEqual(['out\n', 'err\n'])
  })

  it('end quietly when nobody reads on', () => {
    const result = spawnSync('sh', ['-c', `${deltabox} exec box -- yes | head -1`], { env })
    expect([result.stdout.toString(), result.stderr.toString()]).toEqual(['y\n', ''])
  })

  it('logs show what a detached command printed, and follow it', () => {
    const process_ = text('exec', '-d', 'box', '--', 'sh', '-c', 'echo one; sleep 0.5; echo two').trim()
    expect(text('logs', '-f', 'box', process_)).toBe('one\ntwo\n')
    expect(text('logs', 'box', process_)).toBe('one\ntwo\n')
  })

  it('kill ends a detached command', () => {
    const process_ = text('exec', '-d', 'box', '--', 'sleep', '60').trim()
    text('kill', '-s', 'TERM', 'box', process_)
    text('logs', '-f', 'box', process_)
    expect(
      json('ps', 'box').processes.find((info: { process: string }) => info.process === process_),
    ).toMatchObject({ signal: 'SIGTERM' })
  })

  it('an interrupt is passed on to the command', async () => {
    const child = spawn(
      deltabox,
      [
        'exec',
        'box',
        '--',
        'sh',
        '-c',
        'trap "echo caught; exit 5" INT; echo ready; while :; do sleep 0.1; done',
      ],
      { env },
    )
    let said = ''
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk
      if (said === 'ready\n') child.kill('SIGINT')
    })
    const [status] = await once(child, 'exit')
    expect([said, status]).toEqual(['ready\ncaught\n', 5])
  })
})

describe('cp', () => {
  it('copies trees both ways with modes and links', () => {
    const tree = join(top, 'tree')
    mkdirSync(join(tree, 'sub'), { recursive: true })
    writeFileSync(join(tree, 'sub', 'run.sh'), '#!/bin/sh\necho ran\n', { mode: 0o755 })
    symlinkSync('sub/run.sh', join(tree, 'link'))
    text('cp', tree, 'box:/root')
    expect(text('exec', 'box', '--', '/root/tree/link')).toBe('ran\n')
    text('cp', 'box:/root/tree', join(top, 'back'))
    expect(readFileSync(join(top, 'back', 'sub', 'run.sh'), 'utf8')).toBe('#!/bin/sh\necho ran\n')
    expect(readlinkSync(join(top, 'back', 'link'))).toBe('sub/run.sh')
    expect(run(['cp', '-', 'box:/root/piped'], Buffer.from('in')).status).toBe(0)
    expect(text('cp', 'box:/root/piped', '-')).toBe('in')
    text('cp', 'box:/root/piped', 'box:/root/copy')
    expect(text('ls', 'box:/root')).toMatch(/copy/)
    expect(run(['cp', 'box:/nowhere', top]).stderr.toString()).toMatch(/does not exist/)
  })
})

describe('a workspace', () => {
  it('comes back by apply, unless the host changed it meanwhile', () => {
    const work = join(top, 'work')
    mkdirSync(work)
    writeFileSync(join(work, 'kept'), 'kept')
    writeFileSync(join(work, 'changed'), 'old')
    writeFileSync(join(work, 'gone'), 'x')
    text('create', '--name', 'work', '--workspace', work)
    text(
      'exec',
      'work',
      '--',
      'sh',
      '-c',
      'echo new > changed; rm gone; mkdir d; echo a > d/added; ln -s added d/link; chmod 755 kept',
    )
    expect(readFileSync(join(work, 'changed'), 'utf8')).toBe('old')
    const lines = ['M changed', 'A d', 'A d/added', 'A d/link', 'D gone', 'M kept']
    expect(
      text('apply', '--dry-run', 'work')
        .trim()
        .split('\n')
        .sort((a, b) => (a.slice(2) < b.slice(2) ? -1 : 1)),
    ).toEqual(lines)
    text('apply', 'work')
    expect(readFileSync(join(work, 'changed'), 'utf8')).toBe('new\n')
    expect(readlinkSync(join(work, 'd', 'link'))).toBe('added')
    expect(text('apply', 'work')).toBe('')
    text('exec', 'work', '--', 'sh', '-c', 'echo mine > changed')
    writeFileSync(join(work, 'changed'), 'theirs')
    const refused = run(['apply', 'work', '--json'])
    expect(JSON.parse(refused.stderr.toString()).error).toMatchObject({
      code: 'apply_conflict',
      message: expect.stringContaining('changed'),
    })
    expect(readFileSync(join(work, 'changed'), 'utf8')).toBe('theirs')
    expect(run(['apply', 'box']).stderr.toString()).toMatch(/workspace/)
  })
})

describe('a terminal', () => {
  it('runs a shell in tmux and is put back afterwards', async () => {
    const socket = join(top, 'tmux')
    const tmux = (...args: string[]): string =>
      spawnSync('tmux', ['-S', socket, ...args], { env }).stdout.toString()
    const shows = async (pattern: RegExp): Promise<void> => {
      while (!pattern.test(tmux('capture-pane', '-p')))
        await new Promise((resolve) => setTimeout(resolve, 50))
    }
    tmux('new-session', '-d', '-x', '90', '-y', '25', 'sh')
    tmux(
      'send-keys',
      `stty -a | md5sum > ${top}/before; ${deltabox} shell box; stty -a | md5sum > ${top}/after; echo over`,
      'Enter',
    )
    await shows(/box:.*#|# $/m)
    tmux('send-keys', 'stty size; tty', 'Enter')
    await shows(/25 90[\s\S]*\/dev\/pts\/0/)
    tmux('send-keys', 'sleep 60', 'Enter')
    tmux('send-keys', 'C-c', '')
    tmux('send-keys', 'exit', 'Enter')
    await shows(/^over/m)
    tmux('kill-server')
    expect(readFileSync(join(top, 'after'), 'utf8')).toBe(readFileSync(join(top, 'before'), 'utf8'))
  })
})
