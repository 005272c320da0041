/** What `make demo` and `make tour` run: what they show is so, and nothing is left of them. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { leftBehind } from './support/left-behind.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const demo = [process.execPath, '--import', 'tsx', path.join(root, 'examples/demo/main.ts')]
const LONG_MS = 180_000

let top: string
let report: string
beforeEach(() => {
  top = mkdtempSync(path.join(tmpdir(), 'dbx-examples-'))
  report = path.join(top, 'report.html')
})
afterEach(() => rmSync(top, { recursive: true, force: true }))

interface Running {
  readonly child: ChildProcess
  printed(): string
  prints(text: string | RegExp): Promise<void>
  ended(): Promise<number | null>
}

/**
 * Its temporary files are in a directory of the test's own. The shell goes on after a program that has dealt with Ctrl-C, as not
 * every shell does.
 */
function run(command: readonly string[]): Running {
  const [program = '', ...args] = command
  const { ANTHROPIC_API_KEY: _a, OPENAI_API_KEY: _o, ...others } = process.env
  const env = {
    ...others,
    SHELL: '/bin/bash',
    TERM: 'xterm',
    TMPDIR: top,
    DELTABOX_DEMO_WAITS: '0.05',
    DELTABOX_DEMO_REPORT: report,
  }
  const child = spawn(program, args, { cwd: root, env, stdio: ['pipe', 'pipe', 'pipe'] })
  const exited = once(child, 'close')
  let text = ''
  const note = (chunk: Buffer): void => {
    text += chunk
  }
  child.stdout.on('data', note)
  child.stderr.on('data', note)
  return {
    child,
    printed: () => text,
    prints: async (wanted) => {
      const printed = expect.poll(() => text, { timeout: 60_000 }).toMatch(wanted)
      // What has ended prints no more.
      await Promise.race([printed, exited])
      expect(text).toMatch(wanted)
      await printed
    },
    ended: async () => (await exited)[0] as number | null,
  }
}

function left(): string[] {
  // tsx keeps there what it has translated.
  const files = readdirSync(top).filter((name) => name !== path.basename(report) && !name.startsWith('tsx-'))
  return [...leftBehind(top), ...files]
}

describe('the demo', () => {
  it(
    'finds what puts the bug right, leaves what does not, and compares',
    async () => {
      const running = run(demo)
      const status = await running.ended()
      const text = running.printed()
      expect(status, text).toBe(0)
      const made = text.split('\n').filter((line) => line.includes('| after '))
      const tried = (what: string): number[] =>
        made.filter((line) => line.includes(what)).map((line) => Number(/value ([\d.]+)/.exec(line)?.[1]))
      const decoys = ['self.cache.clear()', 'cannot be trusted', 'delete vendor', 'kill the server']
      for (const decoy of decoys) {
        expect(tried(decoy).length, decoy).toBeGreaterThan(0)
        expect(Math.max(...tried(decoy)), decoy).toBeLessThan(0.8)
      }
      const found = text.slice(text.indexOf('Found:'))
      for (const decoy of decoys) expect(found).not.toContain(decoy)
      expect(found).toContain('stop the server, start it again')
      expect(found.match(/^[-+] .*/gm)).toEqual([
        '-        self.cache.forget(name)',
        '+        self.cache.forget(slug(name))',
        '-        self.cache.forget(name)',
        '+        self.cache.forget(slug(name))',
      ])
      const compared = /^state management, all +([\d.]+ m?s) +([\d.]+ m?s) +([\d.]+) ×$/m.exec(found)
      expect(Number(compared?.[3])).toBeGreaterThan(1)
      const same = `It came to the same value at ${made.length} of ${made.length} nodes.`
      expect(found.replaceAll('\n', ' ')).toContain(same)
      expect(found).toContain(report)
      const page = readFileSync(report, 'utf8')
      expect(page.match(/<g class="node/g)).toHaveLength(made.length + 1)
      expect(page).toContain('copy + replay')
      expect(left()).toEqual([])
    },
    LONG_MS,
  )

  it.each([
    ['while it searches', / after \d[\s\S]* after \d/, 'SIGINT', 130],
    ['while it compares', 'copy \\+ replay: ', 'SIGINT', 130],
    ['as soon as it begins', 'is served over HTTP', 'SIGTERM', 143],
  ] as const)(
    'leaves nothing when it is stopped %s',
    async (_when, seen, signal, status) => {
      const running = run(demo)
      await running.prints(new RegExp(seen))
      running.child.kill(signal)
      // Somebody in a hurry.
      running.child.kill(signal)
      expect(await running.ended(), running.printed()).toBe(status)
      expect(running.printed()).not.toContain('Error')
      expect(left()).toEqual([])
    },
    LONG_MS,
  )

  it(
    'leaves nothing when nobody reads what it prints',
    async () => {
      const running = run(demo)
      await running.prints(/ after \d/)
      running.child.stdout?.destroy()
      expect(await running.ended()).toBe(141)
      expect(left()).toEqual([])
    },
    LONG_MS,
  )

  it(
    'stops at Ctrl-C on a terminal, which is as it was',
    async () => {
      const command = `stty rows 30 cols 100; stty -a >${report}.before; ${demo.join(' ')}; echo status $?; stty -a >${report}.after`
      const running = run(['/usr/bin/script', '-qefc', command, '/dev/null'])
      await running.prints(/ [1-9] of 60 steps/)
      running.child.stdin?.write('\x03')
      await running.prints(/status 130/)
      await running.ended()
      expect(running.printed().lastIndexOf('\x1b[?25h')).toBeGreaterThan(
        running.printed().lastIndexOf('\x1b[?25l'),
      )
      expect(stripVTControlCharacters(running.printed())).toContain('Stopping, and removing everything.')
      expect(readFileSync(`${report}.after`, 'utf8')).toBe(readFileSync(`${report}.before`, 'utf8'))
      for (const name of ['before', 'after']) rmSync(`${report}.${name}`)
      expect(left()).toEqual([])
    },
    LONG_MS,
  )
})

describe('the tour', () => {
  it(
    'shows all its steps',
    async () => {
      const running = run([path.join(root, 'examples/tour.sh')])
      expect(await running.ended(), running.printed()).toBe(0)
      expect(running.printed()).toContain('the host is as it was')
      expect(running.printed()).toContain('on the host now: int answer(void) { return 42; }')
      await expect.poll(left).toEqual([]) // a daemon that was told to stop has not yet ended
    },
    LONG_MS,
  )
})
