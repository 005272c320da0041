/** Checkpoints, rollbacks and forks, as they are typed. */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const deltabox = fileURLToPath(new URL('../../bin/deltabox', import.meta.url))
const top = mkdtempSync(join(tmpdir(), 'dbx-'))
const env = { ...process.env, DELTABOX_DATA: join(top, 'data'), DELTABOX_RUN: join(top, 'run') }

function run(...args: string[]): SpawnSyncReturns<string> {
  return spawnSync(deltabox, args, { env, encoding: 'utf8' })
}

function text(...args: string[]): string {
  const result = run(...args)
  expect(result.status, result.stderr).toBe(0)
  return result.stdout
}

// biome-ignore lint/suspicious/noExplicitAny: a test states what it expects of it
function json(...args: string[]): any {
  return JSON.parse(text(...args, '--json'))
}

function sh(box: string, script: string): string {
  return text('exec', box, '--', 'sh', '-c', script)
}

beforeAll(() => {
  text('create', '--name', 'box')
})
afterAll(() => {
  run('rm', '--all', '--checkpoints')
  run('daemon', 'stop')
  rmSync(top, { recursive: true, force: true })
})

describe('an afternoon', () => {
  it('of checkpoint, change, diff, rollback', () => {
    sh('box', 'echo good > /srv/f')
    const before = text('checkpoint', 'box', '-m', 'before refactor').trim()
    expect(before).toMatch(/^cp-[a-z2-7]{10}$/)
    sh('box', 'rm /srv/f; echo new > /srv/g; echo x >> /etc/hosts')
    expect(text('diff', before, 'box')).toBe('M /etc/hosts\nD /srv/f\nA /srv/g\n')
    const sleeper = text('exec', '-d', 'box', '--', 'sleep', '1000').trim()
    expect(text('rollback', 'box', before)).toBe(`back at ${before}; 0 processes run again\n`)
    expect(sh('box', 'cat /srv/*')).toBe('good\n')
    expect(json('ps', 'box').processes).toContainEqual(
      expect.objectContaining({ process: sleeper, state: 'exited', signal: 'SIGKILL' }),
    )
    expect(text('diff', before, 'box')).toBe('')
    expect(text('diff', 'box')).toContain('A /srv/f\n')
    expect(text('tree', 'box')).toMatch(
      new RegExp(`^/\\n└─ ${before} \\d+s before refactor\\n   └─ \\* sb-\\w+ box running\\n$`),
    )
    text('rm', before)
  })

  it('of forks', () => {
    const before = text('checkpoint', 'box').trim()
    sh('box', 'echo later > /srv/f')
    const kids = text('fork', '-n', '3', before).trim().split('\n')
    expect(kids).toHaveLength(3)
    for (const kid of kids) expect(sh(kid, `cat /srv/f; echo ${kid} > /srv/f`)).toBe('good\n')
    const [now] = text('fork', 'box').trim().split('\n') as [string]
    expect(sh(now, 'cat /srv/f')).toBe('later\n')
    expect(text('tree').match(/\* sb-/g)).toHaveLength(5)
    expect(
      text('rm', ...kids, now)
        .trim()
        .split('\n'),
    ).toEqual([...kids, now])
    expect(run('exec', kids[0] as string, '--', 'true').status).toBe(125)
  })
})

describe('promote', () => {
  it('lets a sandbox go on as the best of its forks, and drops them all', () => {
    text('create', '--name', 'main')
    const id = json('ls').sandboxes.find((info: { name: string }) => info.name === 'main').id
    const kids = text('fork', '-n', '3', 'main').trim().split('\n')
    const [best, other] = kids as [string, string]
    for (const kid of kids) sh(kid, `echo ${kid} > /srv/f`)
    text('exec', '-d', best, '--', 'sleep', '1000')
    const promoted = text('promote', best, 'main')
    const [, checkpoint] = /^at (cp-\w+), the state of \S+; 1 process runs again\n$/.exec(promoted) ?? []
    expect(promoted).toBe(`at ${checkpoint}, the state of ${best}; 1 process runs again\n`)
    expect(sh('main', 'cat /srv/f; pgrep -c sleep')).toBe(`${best}\n1\n`)
    expect(text('tree', 'main').match(/\* sb-/g)).toHaveLength(4)

    const done = json('promote', '--drop', other, 'main')
    expect(done).toMatchObject({
      ...{ sandbox: id, fork: other, checkpoint: expect.stringMatching(/^cp-/) },
      ...{ ms: expect.any(Number), source: 'image', processes: 0, lost: 0 },
    })
    expect(done.dropped.sort()).toEqual([...kids].sort())
    expect(done).not.toHaveProperty('notDropped')
    expect(sh('main', 'cat /srv/f')).toBe(`${other}\n`)
    expect(text('tree', 'main').match(/\* sb-\w+ \S+/g)).toEqual([`* ${id} main`])

    const kid = text('fork', 'main').trim()
    expect(text('promote', '--drop', kid, 'main')).toMatch(
      new RegExp(`^at cp-\\w+, the state of ${kid}; 0 processes run again\\nremoved ${kid}\\n$`),
    )
    text('rm', '--checkpoints', 'main')
  })
})

describe('JSON', () => {
  it('has the promised fields', () => {
    text('create', '--name', 'told')
    sh('told', 'echo 1 > /srv/f')
    const checkpoint = json('checkpoint', 'told', '-m', 'label', '--no-disk')
    expect(checkpoint).toMatchObject({
      id: expect.stringMatching(/^cp-/),
      parent: null,
      label: 'label',
      blockingMs: expect.any(Number),
      unchanged: false,
      processes: expect.any(Number),
      memoryBytes: 0,
    })
    expect(Object.keys(checkpoint)).toContain('fileBytes')
    const { id } = json('ls').sandboxes.find((info: { name: string }) => info.name === 'told')
    expect(json('rollback', 'told', checkpoint.id)).toMatchObject({
      sandbox: id,
      checkpoint: checkpoint.id,
      ms: expect.any(Number),
      source: 'image',
      stopped: 0,
    })
    const forked = json('fork', '-n', '2', 'told')
    expect(forked).toMatchObject({
      sandboxes: [{ id: expect.stringMatching(/^sb-/), name: null }, { state: 'running' }],
      ms: expect.any(Number),
    })
    expect(json('diff', 'base', checkpoint.id)).toEqual({
      changes: [expect.objectContaining({ kind: 'A', path: '/srv/f', type: 'file', size: 2 })],
    })
    expect(json('tree', 'told').roots).toEqual([
      expect.objectContaining({
        kind: 'base',
        children: [expect.objectContaining({ kind: 'checkpoint', id: checkpoint.id, label: 'label' })],
      }),
    ])
    const kids = forked.sandboxes.map((info: { id: string }) => info.id)
    expect(json('rm', '--checkpoints', 'told', ...kids)).toEqual({
      removed: expect.arrayContaining([id, ...kids]),
      checkpoints: 0,
    })
  })
})

describe('rm', () => {
  it('says that checkpoints are kept, and removes them by id', () => {
    text('create', '--name', 'short')
    const one = text('checkpoint', 'short').trim()
    const removed = run('rm', 'short')
    expect([removed.status, removed.stderr]).toEqual([
      0,
      'deltabox: 1 checkpoint is kept; `deltabox tree` shows them\n',
    ])
    expect(text('tree')).toContain(one)
    expect(text('rm', one)).toBe(`${one}\n`)
    expect(text('tree')).not.toContain(one)
  })

  it('removes nothing when one name is wrong', () => {
    text('create', '--name', 'whole')
    const one = text('checkpoint', 'whole').trim()
    expect(run('rm', one, 'whole', 'cp-aaaaaaaaaa').status).toBe(1)
    expect(text('tree', 'whole')).toContain(one)
    text('rm', '--checkpoints', 'whole')
  })
})

describe('prune and retention', () => {
  it('remove what no rule keeps, and say what that freed', () => {
    text('create', '--name', 'long')
    const ids = ['a', 'b', 'c', 'd'].map((name) => {
      sh('long', `echo ${name} > /srv/f`)
      return text('checkpoint', 'long').trim()
    })
    const [first = '', second = '', third = ''] = ids
    const freed = /\nwould free \d+\.\d MiB of files, \d+\.\d MiB of memory, \d+\.\d MiB of images on disk\n$/
    const tried = text('prune', '--keep-last', '2', '--dry-run', 'long')
    expect(tried).toMatch(freed)
    expect(tried.replace(freed, '')).toBe(
      `would remove ${first}\nwould remove ${second}\nwould remove 2 checkpoints, 2 kept`,
    )
    expect(json('prune', '--keep-last', '1', '--keep', second, '--keep', first, 'long')).toEqual({
      ...{ removed: [third], kept: 3 },
      freedBytes: { files: expect.any(Number), memory: 0, disk: 0 },
    })
    expect(text('prune', '--keep-newer-than', '2h', '--family', 'long')).toContain(
      'removed 0 checkpoints, 3 kept\nfreed ',
    )
    expect(text('retention', 'long')).toBe('keeps every checkpoint\n')
    expect(text('retention', '--keep-last', '2', '--keep-newer-than', '0.5s', 'long')).toBe(
      'keeps the last 2, what is newer than 0.5 seconds, what has a label\n',
    )
    expect(json('retention', 'long')).toEqual({ retention: { keepLast: 2, keepNewerThanMs: 500 } })
    expect(json('retention', '--none', 'long')).toEqual({ retention: null })
    text('rm', '--checkpoints', 'long')
  })
})

describe('errors', () => {
  it.each([
    [['checkpoint', 'nobody'], 'sandbox_not_found'],
    [['rollback', 'box', 'cp-aaaaaaaaaa'], 'checkpoint_not_found'],
    [['fork', 'cp-aaaaaaaaaa'], 'checkpoint_not_found'],
    [['promote', 'nobody', 'box'], 'sandbox_not_found'],
    [['promote', 'box', 'box'], 'invalid_request'],
    [['fork', '-n', '1000', 'box'], 'invalid_request'],
    [['prune', 'box'], 'invalid_request'],
    [['prune', '--no-keep-labelled', 'box'], 'invalid_request'],
    [['prune', '--keep', 'cp-aaaaaaaaaa', 'box'], 'checkpoint_not_found'],
    [['retention', '--none', '--keep-last', '1', 'box'], 'invalid_request'],
    [['diff', 'box', 'nobody'], 'sandbox_not_found'],
    [['diff', 'base', 'base'], 'invalid_request'],
    [['tree', 'nobody'], 'sandbox_not_found'],
    [['create', '--name', 'cp-mine'], 'invalid_request'],
  ])('%j: %s', (args, code) => {
    const result = run(...args, '--json')
    expect([result.status, result.stdout]).toEqual([1, ''])
    expect(JSON.parse(result.stderr).error).toMatchObject({ code, remedy: expect.any(String) })
  })
})
