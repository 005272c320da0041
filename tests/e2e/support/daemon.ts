/** A daemon of a test's own, in fresh directories, spoken to in plain HTTP. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { CreateSandbox, ProcessInfo, SandboxInfo, StartCommand } from '@deltabox/protocol'

const main = fileURLToPath(new URL('../../../packages/daemon/dist/main.js', import.meta.url))

export interface Reply {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly bytes: Buffer
  // biome-ignore lint/suspicious/noExplicitAny: a test states what it expects of it
  readonly json: any
}

export interface Frame {
  readonly type: number
  readonly payload: Buffer
}

interface Node {
  readonly kind: string
  readonly id: string
  readonly children?: Node[]
}

/** What whoever runs the tests wants tried. */
function given(...names: string[]): Record<string, string> {
  return Object.fromEntries(names.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])))
}

export class TestDaemon {
  readonly directory: string = mkdtempSync(path.join(tmpdir(), 'dbx-'))
  readonly dataDir: string = path.join(this.directory, 'data')
  readonly runBase: string = path.join(this.directory, 'run')
  readonly env: Record<string, string>
  url = ''
  child: ChildProcess | undefined

  constructor(env: Record<string, string> = {}) {
    this.env = {
      DELTABOX_DATA: this.dataDir,
      DELTABOX_RUN: this.runBase,
      DELTABOX_LOG_LEVEL: 'debug',
      ...given('DELTABOX_ENGINE', 'DELTABOX_COPY_AHEAD', 'DELTABOX_POOL_BYTES', 'DELTABOX_COMPRESS'),
      ...env,
    }
  }

  static async start(env: Record<string, string> = {}, args: readonly string[] = []): Promise<TestDaemon> {
    const daemon = new TestDaemon(env)
    await daemon.start(args)
    return daemon
  }

  /** `ready URL`, or nothing when it ends before: then `fault` tells why. */
  async launch(args: readonly string[] = []): Promise<string> {
    const child = spawn(process.execPath, [main, ...args], {
      env: { PATH: process.env.PATH, HOME: process.env.HOME, ...this.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.child = child
    child.stderr?.on('data', (piece) => this.log.push(String(piece)))
    let said = ''
    for await (const piece of child.stdout as AsyncIterable<Buffer>) {
      said += piece
      if (said.includes('\n')) break
    }
    return said.trim()
  }

  readonly log: string[] = []

  /** Why it did not start: the last line of its log. */
  // biome-ignore lint/suspicious/noExplicitAny: a test states what it expects of it
  get fault(): any {
    return JSON.parse(this.logText().trimEnd().split('\n').at(-1) ?? '').error
  }

  async start(args: readonly string[] = []): Promise<void> {
    const said = await this.launch(args)
    if (!said.startsWith('ready '))
      throw new Error(`the daemon said ${JSON.stringify(said)}\n${this.log.join('')}`)
    this.url = said.slice('ready '.length)
  }

  get pid(): number {
    return this.child?.pid ?? 0
  }

  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  async stop(): Promise<void> {
    await this.#end('SIGTERM')
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.child
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill(signal)
    await exited
  }

  /** Removes every sandbox and checkpoint, which ends the engines, stops, and takes the directories away. */
  async clean(): Promise<void> {
    if (!this.child || this.child.exitCode !== null || this.child.signalCode !== null) await this.start()
    const { sandboxes } = (await this.get('/v1/sandboxes')).json
    for (const { id } of sandboxes) await this.call('DELETE', `/v1/sandboxes/${id}`)
    const { roots } = (await this.get('/v1/tree')).json
    const nodes = roots.flatMap((root: { children: Node[] }) => root.children)
    for (const { kind, id, children } of nodes) {
      if (kind === 'checkpoint') await this.call('DELETE', `/v1/checkpoints/${id}`)
      nodes.push(...(children ?? []))
    }
    await this.stop()
    rmSync(this.directory, { recursive: true, force: true })
  }

  get socket(): string {
    return this.url.slice('unix:'.length)
  }

  engines(): string[] {
    const families = path.join(this.dataDir, 'families')
    return existsSync(families) ? readdirSync(families) : []
  }

  logText(): string {
    return this.log.join('')
  }

  open(
    method: string,
    url: string,
    body?: Buffer | string,
    headers: Record<string, string> = {},
  ): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const call = request({ socketPath: this.socket, method, path: url, headers, agent: false }, resolve)
      call.on('error', reject)
      call.end(body)
    })
  }

  async call(method: string, url: string, body?: object): Promise<Reply> {
    const headers: Record<string, string> = body === undefined ? {} : { 'content-type': 'application/json' }
    return readReply(await this.open(method, url, body && JSON.stringify(body), headers))
  }

  async upload(method: string, url: string, bytes: Buffer | string): Promise<Reply> {
    return readReply(await this.open(method, url, bytes, { 'content-type': 'application/octet-stream' }))
  }

  get(url: string): Promise<Reply> {
    return this.call('GET', url)
  }

  async create(options: CreateSandbox = {}): Promise<SandboxInfo> {
    const reply = await this.call('POST', '/v1/sandboxes', options)
    if (reply.status !== 201) throw new Error(reply.bytes.toString())
    return reply.json
  }

  async startCommand(sandbox: string, command: StartCommand): Promise<ProcessInfo> {
    const reply = await this.call('POST', `/v1/sandboxes/${sandbox}/commands`, command)
    if (reply.status !== 201) throw new Error(reply.bytes.toString())
    return reply.json
  }

  async output(sandbox: string, process: string, query = ''): Promise<Frame[]> {
    return framesOf((await this.get(`/v1/sandboxes/${sandbox}/commands/${process}/output${query}`)).bytes)
  }

  async run(
    sandbox: string,
    command: string | string[],
    options: Partial<StartCommand> = {},
  ): Promise<ProcessInfo & { stdout: string; stderr: string }> {
    const { process } = await this.startCommand(sandbox, { command, ...options })
    const frames = await this.output(sandbox, process, '?attach=true')
    const last = frames.at(-1)
    if (last?.type !== 4) throw new Error(`no exit frame but ${last?.type}: ${last?.payload}`)
    const info: ProcessInfo = JSON.parse(String(last.payload))
    return { ...info, stdout: textOf(frames, 1), stderr: textOf(frames, 2) }
  }
}

async function readReply(response: IncomingMessage): Promise<Reply> {
  const pieces: Buffer[] = []
  for await (const piece of response) pieces.push(piece)
  const bytes = Buffer.concat(pieces)
  const isJson = response.headers['content-type']?.startsWith('application/json') === true
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    bytes,
    json: isJson && bytes.length > 0 ? JSON.parse(bytes.toString()) : undefined,
  }
}

export function framesOf(bytes: Buffer): Frame[] {
  const frames: Frame[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at + 1)
    frames.push({ type: bytes.readUInt8(at), payload: bytes.subarray(at + 5, at + 5 + length) })
    at += 5 + length
  }
  return frames
}

export function textOf(frames: readonly Frame[], type: number): string {
  return Buffer.concat(frames.filter((frame) => frame.type === type).map((frame) => frame.payload)).toString()
}

/** What the kernel says of processes with this name, as pids. */
export function pidsOf(comm: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === comm
      } catch {
        return false
      }
    })
    .map(Number)
}
