/** The command line on a terminal, and what signals and closed pipes do to it. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const deltabox = fileURLToPath(new URL('../../bin/deltabox', import.meta.url))
const top = mkdtempSync(join(tmpdir(), 'dbx-'))
const env = {
  ...process.env,
  DELTABOX_DATA: join(top, 'data'),
  DELTABOX_RUN: join(top, 'run'),
  top,
  deltabox,
}

beforeAll(() => {
  expect(shell('"$deltabox" create --name box').status).toBe(0)
})
afterAll(() => {
  shell('"$deltabox" rm --all; "$deltabox" daemon stop')
  rmSync(top, { recursive: true, force: true })
})

function shell(script: string): { status: number | null; stdout: string } {
  const { status, stdout } = spawnSync('bash', ['-c', script], { env, encoding: 'utf8' })
  return { status, stdout }
}

interface Terminal {
  readonly child: ChildProcess
  readonly screen: () => string
  type(text: string): void
  /** Resolves when the screen holds the text. */
  shows(text: string | RegExp): Promise<void>
}

/** A command on a pseudo-terminal of its own. */
function onTerminal(command: string): Terminal {
  const child = spawn('/usr/bin/script', ['-qefc', command, '/dev/null'], {
    env,
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  let screen = ''
  child.stdout?.on('data', (chunk) => {
    screen += chunk
  })
  return {
    child,
    screen: () => screen,
    type: (text) => child.stdin?.write(text),
    shows: async (text) => {
      await expect.poll(() => screen, { timeout: 10_000 }).toMatch(text)
    },
  }
}

describe('a terminal', () => {
  it('is passed on, keys and all, and put back', async () => {
    const terminal = onTerminal(
      'stty rows 30 cols 100; stty -a >$top/before; "$deltabox" shell box; echo status $?; stty -a >$top/after',
    )
    await terminal.shows('# ')
    terminal.type('stty size; tty; sleep 60\r')
    await terminal.shows(/30 100[\s\S]*\/dev\/pts\//)
    terminal.type('\x03')
    terminal.type('echo st-$?; exit 4\r')
    await terminal.shows('st-130')
    await terminal.shows('status 4')
    await expect
      .poll(() => readFileSync(join(top, 'after'), 'utf8'))
      .toBe(readFileSync(join(top, 'before'), 'utf8'))
  })

  it('is put back when the client is told to end, and the command is hung up', async () => {
    const terminal = onTerminal(
      'stty -a >$top/b; sh -c \'echo $$ >$top/cli; exec "$deltabox" exec -it box -- sh -c "echo ready; exec sleep 62"\'; echo status $?; stty -a >$top/a',
    )
    await terminal.shows('ready')
    process.kill(Number(readFileSync(join(top, 'cli'), 'utf8')), 'SIGTERM')
    await terminal.shows('status 143')
    await expect.poll(() => readFileSync(join(top, 'a'), 'utf8')).toBe(readFileSync(join(top, 'b'), 'utf8'))
    expect(shell('"$deltabox" exec box -- pgrep -f "sleep 62$"').status).toBe(1)
  })

  it('without -i still takes an interrupt', async () => {
    const terminal = onTerminal(
      'trap : INT; "$deltabox" exec -t box -- sh -c "echo ready; exec sleep 60"; echo status $?',
    )
    await terminal.shows('ready')
    terminal.type('\x03')
    await terminal.shows('status 130')
  })

  it('tells the command of a new size', async () => {
    const terminal = onTerminal(
      'tty >$top/tty; "$deltabox" exec -it box -- bash -c "trap \'stty size\' WINCH; echo ready; while :; do sleep 0.1; done"',
    )
    await terminal.shows('ready')
    shell('stty -F "$(cat $top/tty)" rows 33 cols 90')
    await terminal.shows('33 90')
    terminal.type('\x03')
  })

  it('draws a full-screen program', async () => {
    const terminal = onTerminal('stty rows 20 cols 60; "$deltabox" exec -it box -- top; echo status $?')
    await terminal.shows('%CPU')
    terminal.type('q')
    await terminal.shows('status 0')
  })
})

describe('a pipe that closes', () => {
  it('ends a command that minds, and one that does not', () => {
    expect(shell('"$deltabox" exec box -- yes | head -1; echo $PIPESTATUS').stdout).toBe('y\n141\n')
    const deaf = `"$deltabox" exec box -- sh -c "trap '' PIPE; while :; do echo y; done 2>/dev/null" | head -1; echo $PIPESTATUS`
    expect(shell(deaf).stdout).toBe('y\n137\n')
  })

  it('is no fault of a listing', () => {
    expect(
      shell('"$deltabox" exec box -- seq 100000 | head -1; "$deltabox" ls box:/etc 2>&1 >/dev/full | wc -l')
        .status,
    ).toBe(0)
    expect(shell('"$deltabox" ls box:/usr/bin 2>$top/err | true; cat $top/err').stdout).toBe('')
  })
})

describe('an interrupt', () => {
  it.each([50, 150, 400])('%i ms after `run --rm` leaves no sandbox behind', (ms) => {
    const before = shell('"$deltabox" ls').stdout
    const run = `"$deltabox" run --rm -- sleep 60 & sleep ${ms / 1000}; kill -INT $!; wait $!; echo $?`
    // A shell without job control has its background commands ignore interrupts.
    expect(shell(`set -m; ${run}`).stdout).toContain('130')
    expect(shell('"$deltabox" ls').stdout.split('\n').length).toBe(before.split('\n').length)
  })
})

describe('logs', () => {
  it('give what a running process printed so far, and end', () => {
    const { stdout } = shell(
      'p=$("$deltabox" exec -d box -- sh -c "echo begun; sleep 60"); sleep 0.3; timeout 10 "$deltabox" logs box $p; echo $?',
    )
    expect(stdout).toBe('begun\n0\n')
  })
})
