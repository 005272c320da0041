import type { ProcessInfo } from '@deltabox/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { framesOf, TestDaemon, textOf } from './support/daemon.js'

let daemon: TestDaemon
let box: string

beforeAll(async () => {
  daemon = await TestDaemon.start()
  box = (await daemon.create({ env: { FROM: 'sandbox' } })).id
})
afterAll(() => daemon.clean())

const commands = (rest = ''): string => `/v1/sandboxes/${box}/commands${rest}`

describe('commands', () => {
  it('run in a shell and report both streams and their status', async () => {
    const result = await daemon.run(box, 'echo out; echo err >&2; exit 7')
    expect(result).toMatchObject({
      stdout: 'out\n',
      stderr: 'err\n',
      exitCode: 7,
      signal: null,
      state: 'exited',
    })
  })

  it('take a list as it is', async () => {
    const { stdout } = await daemon.run(box, ['/bin/echo', '$HOME', 'a b'])
    expect(stdout).toBe('$HOME a b\n')
  })

  it('get the environment of the daemon’s defaults, the sandbox and the command', async () => {
    const { stdout } = await daemon.run(box, ['/usr/bin/env'], { env: { MINE: 'x' } })
    expect(stdout.trim().split('\n').sort()).toEqual([
      'FROM=sandbox',
      'HOME=/root',
      'LANG=C.UTF-8',
      'MINE=x',
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    ])
  })

  it('run as a user, at home there', async () => {
    const { stdout } = await daemon.run(box, 'id -u; echo $HOME', { user: 'games' })
    expect(stdout).toBe('5\n/usr/games\n')
  })

  it('end at their time limit, with what they started', async () => {
    const result = await daemon.run(box, 'sleep 60 & sleep 60', { timeoutMs: 200 })
    expect(result).toMatchObject({ timedOut: true, signal: 'SIGKILL', exitCode: null })
  })

  it('do not wait for a background child that keeps the pipe open', async () => {
    const result = await daemon.run(box, '(while :; do echo more; sleep 0.05; done) & echo done; exit 0')
    expect(result.exitCode).toBe(0)
    expect(result.stdout).toContain('done\n')
  })

  it('deliver every byte of a large output', async () => {
    const { stdout } = await daemon.run(box, 'seq 1 1500000')
    expect(stdout.length).toBe(10888896)
    expect(stdout.endsWith('1500000\n')).toBe(true)
  })

  it('go on at an offset', async () => {
    const { process } = await daemon.startCommand(box, {
      command: 'echo 0123456789; echo err >&2',
      detached: true,
    })
    const frames = await daemon.output(box, process, '?stdout=4&stderr=2')
    expect([textOf(frames, 1), textOf(frames, 2)]).toEqual(['456789\n', 'r\n'])
  })

  it('give what there is without following', async () => {
    const { process } = await daemon.startCommand(box, { command: 'echo now; exec sleep 60', detached: true })
    await untilOutput(process, 'now\n')
    const frames = await daemon.output(box, process, '?follow=false')
    expect(frames.map((frame) => frame.type)).toEqual([1])
    await daemon.call('POST', commands(`/${process}/signal`), { signal: 'SIGTERM' })
    const ended = await daemon.output(box, process)
    expect(JSON.parse(String(ended.at(-1)?.payload))).toMatchObject({ signal: 'SIGTERM' })
  })

  it('name the gap when old output had to go', async () => {
    const { process } = await daemon.startCommand(box, { command: 'seq 1 1000000; exit 0', detached: true })
    const info = await untilEnded(process)
    expect(info.exitCode).toBe(0)
    const frames = await daemon.output(box, process)
    const gap = JSON.parse(String(frames.find((frame) => frame.type === 3)?.payload))
    expect(gap.stream).toBe('stdout')
    expect(gap.offset + textOf(frames, 1).length).toBe(6888896)
  })

  it('read standard input of any length, then its end', async () => {
    const { process } = await daemon.startCommand(box, {
      command: 'sha256sum; wc -c </dev/null',
      stdin: true,
    })
    const bytes = Buffer.alloc(5_000_000, 'deltabox')
    const reply = await daemon.upload('POST', commands(`/${process}/stdin?close=true`), bytes)
    expect(reply.status).toBe(200)
    const { createHash } = await import('node:crypto')
    const expected = createHash('sha256').update(bytes).digest('hex')
    expect(textOf(await daemon.output(box, process, '?attach=true'), 1)).toBe(`${expected}  -\n0\n`)
  })

  it('have a terminal when asked for, which can be resized', async () => {
    const command = 'stty size; read line; stty size; echo got $line'
    const { process } = await daemon.startCommand(box, { command, tty: { cols: 100, rows: 30 } })
    await untilOutput(process, '30 100')
    await daemon.call('POST', commands(`/${process}/resize`), { cols: 60, rows: 20 })
    await daemon.upload('POST', commands(`/${process}/stdin`), 'hello\n')
    const text = textOf(await daemon.output(box, process), 1)
    expect(text).toBe('30 100\r\nhello\r\n20 60\r\ngot hello\r\n')
  })

  it('are listed oldest first', async () => {
    const { processes }: { processes: ProcessInfo[] } = (await daemon.get(commands())).json
    expect(processes.length).toBeGreaterThan(5)
    expect(processes.every((info) => info.pid > 1)).toBe(true)
  })

  it('refuse signals, input and sizes once they ended', async () => {
    const { process } = await daemon.run(box, 'true')
    const signal = await daemon.call('POST', commands(`/${process}/signal`), {})
    const resize = await daemon.call('POST', commands(`/${process}/resize`), { cols: 1, rows: 1 })
    const stdin = await daemon.upload('POST', commands(`/${process}/stdin`), 'x')
    expect([signal, resize, stdin].map((reply) => [reply.status, reply.json.error.code])).toEqual([
      [409, 'process_ended'],
      [409, 'process_ended'],
      [409, 'stdin_closed'],
    ])
  })

  it('say why they cannot be run', async () => {
    const start = async (body: object): Promise<[number, string]> => {
      const { status, json } = await daemon.call('POST', commands(), body)
      return [status, json.error.code]
    }
    expect(await start({ command: ['no-such-program'] })).toEqual([422, 'command_not_found'])
    expect(await start({ command: ['/etc/passwd'] })).toEqual([422, 'command_not_executable'])
    expect(await start({ command: 'true', cwd: '/no/such' })).toEqual([422, 'cwd_not_found'])
    expect(await start({ command: 'true', user: 'nobody-at-all' })).toEqual([422, 'user_not_found'])
  })
})

async function untilOutput(process: string, wanted: string): Promise<void> {
  const response = await daemon.open('GET', commands(`/${process}/output`))
  const pieces: Buffer[] = []
  for await (const piece of response) {
    pieces.push(piece)
    if (Buffer.concat(pieces).includes(wanted)) break
  }
  response.destroy()
}

async function untilEnded(process: string): Promise<ProcessInfo> {
  const response = await daemon.open('GET', commands(`/${process}/output?stdout=100000000&stderr=100000000`))
  const pieces: Buffer[] = []
  for await (const piece of response) pieces.push(piece)
  return JSON.parse(String(framesOf(Buffer.concat(pieces)).at(-1)?.payload))
}
