import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { DaemonEvent } from '@deltabox/protocol'
import { afterEach, describe, expect, it } from 'vitest'
import { framesOf, pidsOf, TestDaemon, textOf } from './support/daemon.js'

const daemons: TestDaemon[] = []

afterEach(async () => {
  for (const daemon of daemons.splice(0)) {
    await daemon.clean()
    expect(existsSync(daemon.directory)).toBe(false)
  }
})

async function started(env: Record<string, string> = {}, args: readonly string[] = []): Promise<TestDaemon> {
  const daemon = await TestDaemon.start(env, args)
  daemons.push(daemon)
  return daemon
}

async function until<T>(look: () => Promise<T | undefined | false> | T | undefined | false): Promise<T> {
  for (;;) {
    const found = await look()
    if (found) return found
    await delay(20)
  }
}

function enginePid(daemon: TestDaemon): number {
  const open = readFileSync('/proc/net/unix', 'utf8')
  const [pid] = pidsOf('deltabox-engine').filter((candidate) => {
    const inodes = readdirSync(`/proc/${candidate}/fd`).length
    return inodes > 0 && open.includes(daemon.runBase) && isIn(candidate, daemon)
  })
  if (!pid) throw new Error('no engine')
  return pid
}

/** The engine's log is open in it. */
function isIn(pid: number, daemon: TestDaemon): boolean {
  const file = statSync(path.join(daemon.dataDir, 'families', daemon.engines()[0] ?? '', 'engine.log'))
  const log = statSync(`/proc/${pid}/fd/2`)
  return log.ino === file.ino
}

describe('the daemon', () => {
  it('says what it is and stops when told, leaving nothing behind', async () => {
    const daemon = await started()
    const info = (await daemon.get('/v1/info')).json
    expect(info).toMatchObject({
      protocol: 1,
      pid: daemon.pid,
      url: daemon.url,
      dataDir: daemon.dataDir,
      sandboxes: 0,
    })
    expect(JSON.parse(readFileSync(path.join(daemon.dataDir, 'daemon.json'), 'utf8'))).toEqual({
      pid: daemon.pid,
      url: daemon.url,
      version: info.version,
    })
    expect(statSync(daemon.socket).mode & 0o777).toBe(0o600)
    expect(statSync(path.dirname(daemon.socket)).mode & 0o777).toBe(0o700)
    expect(statSync(daemon.dataDir).mode & 0o777).toBe(0o700)
    const exited = new Promise((resolve) => daemon.child?.once('exit', resolve))
    expect((await daemon.call('POST', '/v1/shutdown')).status).toBe(202)
    expect(await exited).toBe(0)
    expect(existsSync(daemon.socket)).toBe(false)
    expect(existsSync(path.join(daemon.dataDir, 'daemon.json'))).toBe(false)
    expect(daemon.engines()).toEqual([])
  })

  it('has its data directory to itself', async () => {
    const daemon = await started()
    const second = new TestDaemon(daemon.env)
    expect(await second.launch()).toBe('')
    const error = second.fault
    expect(error).toMatchObject({ code: 'data_dir_locked', details: { pid: daemon.pid } })
    expect(error.message).toContain(String(daemon.pid))
    expect((await daemon.get('/healthz')).json).toEqual({ ok: true })
    rmSync(second.directory, { recursive: true })
  })

  it('does not take somebody’s own directory for its data', async () => {
    const daemon = new TestDaemon()
    mkdirSync(daemon.dataDir)
    writeFileSync(path.join(daemon.dataDir, 'thesis.txt'), '')
    expect(await daemon.launch()).toBe('')
    expect(daemon.fault.code).toBe('data_dir_invalid')
    const other = new TestDaemon()
    mkdirSync(other.dataDir)
    writeFileSync(
      path.join(other.dataDir, 'format'),
      JSON.stringify({ magic: 'deltabox-store', version: 99 }),
    )
    expect(await other.launch()).toBe('')
    expect(other.fault.code).toBe('data_dir_invalid')
    for (const one of [daemon, other]) rmSync(one.directory, { recursive: true })
  })

  it('begins where a power cut came before anything was there', async () => {
    const daemon = new TestDaemon()
    mkdirSync(daemon.dataDir)
    for (const name of ['daemon.log', 'format.123']) writeFileSync(path.join(daemon.dataDir, name), '')
    await daemon.start()
    await daemon.clean()
  })

  it('picks up what a killed daemon left', async () => {
    const daemon = await started()
    const { id } = await daemon.create({ name: 'kept' })
    const ends = await daemon.startCommand(id, {
      command: 'echo before; sleep 0.3; echo after; exit 5',
      detached: true,
    })
    const limited = await daemon.startCommand(id, { command: 'sleep 60', detached: true, timeoutMs: 1500 })
    const waiting = await daemon.startCommand(id, { command: 'read line; echo got $line', stdin: true })
    await daemon.kill()
    await delay(600)
    await daemon.start()
    expect((await daemon.get('/v1/sandboxes/kept')).json).toMatchObject({ id, state: 'running' })
    const frames = await daemon.output(id, ends.process, '?stdout=7')
    expect(textOf(frames, 1)).toBe('after\n')
    expect(JSON.parse(String(frames.at(-1)?.payload))).toMatchObject({ state: 'exited', exitCode: 5 })
    await daemon.upload('POST', `/v1/sandboxes/${id}/commands/${waiting.process}/stdin`, 'again\n')
    expect(textOf(await daemon.output(id, waiting.process, '?attach=true'), 1)).toBe('got again\n')
    const killed = await daemon.output(id, limited.process)
    expect(JSON.parse(String(killed.at(-1)?.payload))).toMatchObject({ timedOut: true, signal: 'SIGKILL' })
  })

  it('goes on with its sandboxes after a clean stop', async () => {
    const daemon = await started()
    const { id } = await daemon.create()
    await daemon.run(id, 'echo kept > /root/file')
    await daemon.stop()
    expect(daemon.engines().length).toBe(1)
    await daemon.start()
    expect((await daemon.run(id, 'cat /root/file')).stdout).toBe('kept\n')
  })

  it('stops at once though somebody reads', async () => {
    const daemon = await started()
    const { id } = await daemon.create()
    const { process } = await daemon.startCommand(id, { command: 'sleep 60' })
    const readers = [`/v1/sandboxes/${id}/commands/${process}/output?attach=true`, '/v1/events']
    const broken = readers.map(async (url) => {
      const response = await daemon.open('GET', url)
      return new Promise((resolve) => response.resume().once('error', resolve))
    })
    await Promise.all(readers.map(() => daemon.get('/healthz')))
    const before = performance.now()
    await daemon.stop()
    expect(performance.now() - before).toBeLessThan(3000)
    await Promise.all(broken)
  })

  it('marks sandboxes dead when their engine dies, and cleans up after it', async () => {
    const daemon = await started({ DELTABOX_WARM: '0' })
    const { id } = await daemon.create()
    const events = await daemon.open('GET', '/v1/events')
    const { process: running } = await daemon.startCommand(id, { command: 'sleep 60' })
    const output = daemon.output(id, running)
    process.kill(enginePid(daemon), 'SIGKILL')
    const dead = await nextEvent(events, 'sandbox.dead')
    expect(dead).toMatchObject({ sandbox: id, reason: 'its engine ended' })
    events.destroy()
    const last = (await output).at(-1)
    expect([last?.type, JSON.parse(String(last?.payload)).error.code]).toEqual([5, 'engine_lost'])
    expect((await daemon.get(`/v1/sandboxes/${id}`)).json).toMatchObject({
      state: 'dead',
      reason: 'its engine ended',
    })
    expect((await daemon.get(`/v1/sandboxes/${id}/commands/${running}`)).json.state).toBe('lost')
    const refused = await daemon.call('POST', `/v1/sandboxes/${id}/commands`, { command: 'true' })
    expect([refused.status, refused.json.error.code]).toEqual([409, 'sandbox_dead'])
    await until(() => !existsSync(`/sys/fs/cgroup/memory/deltabox/${id}`) && true)
    expect((await daemon.call('DELETE', `/v1/sandboxes/${id}`)).json).toEqual({ checkpoints: 0 })
    expect(daemon.engines()).toEqual([])
  })

  it('notices an engine that died while no daemon ran', async () => {
    const daemon = await started({ DELTABOX_WARM: '0' })
    const { id } = await daemon.create()
    const { process: running } = await daemon.startCommand(id, { command: 'sleep 60', detached: true })
    const pid = enginePid(daemon)
    await daemon.kill()
    process.kill(pid, 'SIGKILL')
    await daemon.start()
    expect((await daemon.get(`/v1/sandboxes/${id}`)).json).toMatchObject({
      state: 'dead',
      reason: 'its engine ended while no daemon ran',
    })
    expect((await daemon.get(`/v1/sandboxes/${id}/commands/${running}`)).json.state).toBe('lost')
  })

  it('cleans up directories and spare engines of a killed daemon', async () => {
    const daemon = await started()
    await until(() => daemon.logText().includes('engine started'))
    const { id } = await daemon.create()
    await until(() => daemon.engines().length === 2)
    await daemon.kill()
    mkdirSync(path.join(daemon.dataDir, 'families/stray/sandboxes/sb-stray'), { recursive: true })
    await daemon.start()
    expect(daemon.engines()).not.toContain('stray')
    await daemon.call('DELETE', `/v1/sandboxes/${id}`)
    await daemon.stop()
    expect(daemon.engines()).toEqual([])
  })

  it('keeps a sandbox within its disk limit', async () => {
    const daemon = await started()
    const { id } = await daemon.create({ diskBytes: 16 * 1024 * 1024 })
    const command = 'head -c 400000000 /dev/zero > /root/big; sleep 60'
    const result = await daemon.run(id, command)
    expect(result).toMatchObject({ diskKilled: true, signal: 'SIGKILL' })
    expect((await daemon.run(id, 'rm /root/big; echo freed')).stdout).toBe('freed\n')
    const stats = (await daemon.get(`/v1/sandboxes/${id}/stats`)).json
    expect(stats.diskBytes).toBeLessThan(1024 * 1024)
  })

  it('asks for a token on TCP, and refuses to listen there without one', async () => {
    const none = new TestDaemon()
    expect(await none.launch(['--listen', 'http://127.0.0.1:0'])).toBe('')
    expect(none.fault.code).toBe('invalid_request')
    rmSync(none.directory, { recursive: true })
    const daemon = await started({ DELTABOX_TOKEN: 'secret' }, ['--listen', 'http://127.0.0.1:0'])
    const url = /"url":"(http:[^"]+)"/.exec(daemon.logText())?.[1]
    const status = async (headers: Record<string, string>, at = '/v1/info'): Promise<number> =>
      (await fetch(`${url}${at}`, { headers })).status
    expect(await status({})).toBe(401)
    expect(await status({ authorization: 'Bearer wrong' })).toBe(401)
    expect(await status({ authorization: 'Bearer secret' })).toBe(200)
    expect(await status({}, '/healthz')).toBe(200)
  })
})

async function nextEvent(events: AsyncIterable<Buffer>, type: string): Promise<DaemonEvent> {
  let text = ''
  for await (const piece of events) {
    text += piece
    const found = new RegExp(`event: ${type}\\ndata: (.*)\\n`).exec(text)
    if (found?.[1]) return JSON.parse(found[1])
  }
  throw new Error(`no ${type} in ${text}`)
}

describe('clients', () => {
  it('that do not read hold the command up, not the daemon’s memory', async () => {
    const daemon = await started()
    const { id } = await daemon.create()
    const clients = Array.from({ length: 20 }, async () => {
      const { process } = await daemon.startCommand(id, { command: 'head -c 50000000 /dev/zero' })
      return daemon.open('GET', `/v1/sandboxes/${id}/commands/${process}/output?attach=true`)
    })
    const responses = await Promise.all(clients)
    await delay(500)
    expect(residentBytes(daemon.pid)).toBeLessThan(250e6)
    const sizes = await Promise.all(
      responses.map(async (response) => {
        const pieces: Buffer[] = []
        for await (const piece of response) pieces.push(piece)
        return framesOf(Buffer.concat(pieces)).reduce(
          (sum, { type, payload }) => sum + (type === 1 ? payload.length : 0),
          0,
        )
      }),
    )
    expect(sizes).toEqual(Array(20).fill(50_000_000))
    expect(residentBytes(daemon.pid)).toBeLessThan(300e6)
  })

  it('lose nothing when their connection is lost', async () => {
    const daemon = await started()
    const { id } = await daemon.create()
    const { process } = await daemon.startCommand(id, { command: 'seq 1 1500000' })
    let text = Buffer.alloc(0)
    for (let attempt = 0; attempt < 100; attempt++) {
      const response = await daemon.open(
        'GET',
        `/v1/sandboxes/${id}/commands/${process}/output?attach=true&stdout=${text.length}`,
      )
      const pieces: Buffer[] = []
      let size = 0
      for await (const piece of response) {
        pieces.push(piece)
        size += piece.length
        if (size > 1_000_000) break
      }
      response.destroy()
      const whole = wholeFrames(Buffer.concat(pieces))
      expect(whole.some((frame) => frame.type === 3)).toBe(false)
      text = Buffer.concat([text, Buffer.from(textOf(whole, 1))])
      if (whole.at(-1)?.type === 4) break
    }
    expect(text.length).toBe(10888896)
    expect(text.subarray(-16).toString()).toBe('1499999\n1500000\n')
  })
})

function wholeFrames(bytes: Buffer): ReturnType<typeof framesOf> {
  let at = 0
  while (at + 5 <= bytes.length && at + 5 + bytes.readUInt32BE(at + 1) <= bytes.length) {
    at += 5 + bytes.readUInt32BE(at + 1)
  }
  return framesOf(bytes.subarray(0, at))
}

function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024
}
