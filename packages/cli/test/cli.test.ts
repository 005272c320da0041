import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { Command } from 'commander'
import { afterAll, describe, expect, it } from 'vitest'
import { exitStatusOf } from '../src/attach.js'
import { commandTable } from '../src/command-table.js'
import { drawTree } from '../src/commands/tree.js'
import { checkName, copy, type End, type Node } from '../src/copy/copy.js'
import { hostEnd } from '../src/copy/host-end.js'
import { addKeepOptions, duration, toKeepRules } from '../src/keep-options.js'
import { collectEnv } from '../src/options.js'
import { table } from '../src/report.js'
import { parseSandboxPath } from '../src/sandbox-path.js'

const top = mkdtempSync(join(tmpdir(), 'dbx-'))
afterAll(() => rmSync(top, { recursive: true }))

describe('every command', () => {
  it.each(commandTable.map((entry) => entry.name))('%s has an example in its help', async (name) => {
    const command = (await commandTable.find((entry) => entry.name === name)?.load())?.command()
    let help = ''
    command?.configureOutput({
      writeOut: (text) => {
        help += text
      },
    })
    command?.outputHelp()
    expect(command?.name()).toBe(name)
    expect(help).toContain('Example:\n  ')
  })
})

describe('paths', () => {
  it.each([
    ['box:/etc', { sandbox: 'box', path: '/etc' }],
    ['sb-abc:rel/x:y', { sandbox: 'sb-abc', path: 'rel/x:y' }],
    ['box:', { sandbox: 'box', path: '.' }],
    ['/a:b', null],
    ['./a:b', null],
    ['plain', null],
    [':x', null],
  ])('%s', (text, parsed) => {
    expect(parseSandboxPath(text)).toEqual(parsed)
  })
})

describe('options', () => {
  it('--env takes K=V, keeps later equal signs, and takes K from here', () => {
    process.env.DELTABOX_TEST_VALUE = 'here'
    const env = ['A=1', 'B=x=y', 'DELTABOX_TEST_VALUE', 'DELTABOX_TEST_ABSENT'].reduce<
      Record<string, string>
    >((sofar, value) => collectEnv(value, sofar), {})
    expect(env).toEqual({ A: '1', B: 'x=y', DELTABOX_TEST_VALUE: 'here' })
    expect(() => collectEnv('=x')).toThrow('K=V')
  })
})

describe('durations', () => {
  it.each([
    ['90s', 90_000],
    ['30m', 1_800_000],
    ['2h', 7_200_000],
    ['7d', 604_800_000],
    ['1.5s', 1500],
    ['250ms', 250],
  ])('%s', (text, ms) => {
    expect(duration(text)).toBe(ms)
  })

  it.each(['2', 'h', '-1h', '2 h', '2w', ''])('%j is none', (text) => {
    expect(() => duration(text)).toThrow('90s, 30m, 2h or 7d')
  })
})

describe('rules of what to keep', () => {
  it.each([
    [[], {}],
    [
      ['--keep-last', '0', '--keep-newer-than', '2h', '--no-keep-labelled'],
      { keepLast: 0, keepNewerThanMs: 7_200_000, keepLabelled: false },
    ],
    [['--keep', 'cp-a', '--keep', 'cp-b'], { keep: ['cp-a', 'cp-b'] }],
  ])('%j', (args, rules) => {
    const command = addKeepOptions(new Command()).parse(args, { from: 'user' })
    expect(toKeepRules(command.opts())).toEqual(rules)
  })

  it.each(['-1', '1.5', 'x'])('%j is no number of checkpoints', (value) => {
    const command = addKeepOptions(new Command())
      .exitOverride()
      .configureOutput({ writeErr: () => undefined })
    expect(() => command.parse([`--keep-last=${value}`], { from: 'user' })).toThrow('whole number')
  })
})

describe('exit statuses', () => {
  it.each([
    [{ exitCode: 0, signal: null }, 0],
    [{ exitCode: 3, signal: null }, 3],
    [{ exitCode: null, signal: 'SIGKILL' }, 137],
    [{ exitCode: null, signal: 'SIGTERM' }, 143],
  ])('%j gives %i', (status, expected) => {
    expect(exitStatusOf({ ...status, timedOut: false, oomKilled: false })).toBe(expected)
  })
})

describe('tables', () => {
  it('are as wide as their widest cells', () => {
    expect(
      table([
        ['A', 'B'],
        ['long', 'x'],
      ]),
    ).toEqual(['A     B', 'long  x'])
  })
})

describe('a tree', () => {
  it('has a line per node below its parent, stars sandboxes, and shows labels as plain text', () => {
    const createdAt = new Date().toISOString()
    expect(
      drawTree({
        kind: 'base',
        base: '/',
        workspace: '/work',
        children: [
          {
            kind: 'checkpoint',
            id: 'cp-1',
            label: 'before\x1b[2J',
            createdAt,
            children: [
              { kind: 'checkpoint', id: 'cp-2', label: null, createdAt, children: [] },
              { kind: 'sandbox', id: 'sb-2', name: 'mine', state: 'running' },
            ],
          },
          { kind: 'sandbox', id: 'sb-1', name: null, state: 'dead' },
        ],
      }),
    ).toEqual([
      '/ with /work',
      '├─ cp-1 0s before?[2J',
      '│  ├─ cp-2 0s',
      '│  └─ * sb-2 mine running',
      '└─ * sb-1 - dead',
    ])
  })
})

/** A source that tells what it likes, as a hostile sandbox can. */
function hostile(nodes: Record<string, Node & { names?: string[] }>): End {
  const look = async (path: string): Promise<Node | null> => nodes[path] ?? null
  return {
    root: '/src',
    shown: 'box:/src',
    look,
    lookAtRoot: () => look(''),
    names: async (path) => nodes[path]?.names ?? [],
    read: async () => Readable.from(['content']),
    writeFile: () => Promise.reject(new Error('not a target')),
    makeDirectory: () => Promise.reject(new Error('not a target')),
    makeLink: () => Promise.reject(new Error('not a target')),
    below: () => hostile(nodes),
  }
}

describe('copying out of a sandbox', () => {
  it.each(['', '.', '..', '../x', 'a/b', '/etc/passwd', 'a\0b'])('refuses the name %j', async (name) => {
    expect(() => checkName(name, 'box:/src')).toThrow(expect.objectContaining({ code: 'invalid_request' }))
    const source = hostile({ '': { type: 'directory', mode: 0o755, names: [name] } })
    await expect(copy(source, hostEnd(join(top, 'refused')))).rejects.toMatchObject({
      code: 'invalid_request',
    })
  })

  it('keeps directories, files, modes and links', async () => {
    const target = join(top, 'kept')
    await copy(
      hostile({
        '': { type: 'directory', mode: 0o755, names: ['f', 'l'] },
        f: { type: 'file', mode: 0o640 },
        l: { type: 'symlink', mode: 0o777, target: '/etc/passwd' },
      }),
      hostEnd(target),
    )
    expect(readdirSync(target).sort()).toEqual(['f', 'l'])
    expect(readFileSync(join(target, 'f'), 'utf8')).toBe('content')
    expect(readlinkSync(join(target, 'l'))).toBe('/etc/passwd')
  })

  it('never writes through a link that stands in the target', async () => {
    const target = join(top, 'linked')
    await copy(hostile({ '': { type: 'directory', mode: 0o755 } }), hostEnd(target))
    symlinkSync(join(top, 'victim'), join(target, 'src-file'))
    const source = hostile({ '': { type: 'file', mode: 0o644 } })
    await expect(copy(source, hostEnd(join(target, 'src-file')))).rejects.toMatchObject({
      name: 'DeltaBoxError',
    })
    expect(readdirSync(top)).not.toContain('victim')
  })
})
