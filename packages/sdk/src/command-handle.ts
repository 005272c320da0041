import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { PassThrough, type Readable, Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { ErrorBody, ProcessInfo, TtySize } from '@deltabox/protocol'
import { DeltaBoxError } from '@deltabox/protocol/errors'
import { OutputFrame } from '@deltabox/protocol/output-frames'
import type { Client } from './client.js'
import type { AttachOptions, ExitStatus } from './commands.js'
import { OutputDecoder } from './output-decoder.js'
import { abortedError, errorFromBody } from './transport.js'

/** How long a daemon that went away may take to come back. */
const RECONNECT_MS = 20_000
const RECONNECT_PAUSE_MS = 100

/** Resolves when the stream takes more, or never will. */
async function writable(stream: PassThrough): Promise<void> {
  const over = new AbortController()
  const { signal } = over
  try {
    await Promise.race([once(stream, 'drain', { signal }), once(stream, 'close', { signal })])
  } finally {
    over.abort()
  }
}

/** A broken connection may be a daemon that is restarting; what the daemon itself said is final. */
function mayPass(error: unknown): boolean {
  return !(error instanceof DeltaBoxError) || error.code === 'daemon_unreachable'
}

/** A command in a sandbox: its streams, its end. The streams must be read (or `discardOutput` called) for it to go on. */
export class CommandHandle {
  readonly process: string
  /** The process id inside the sandbox. */
  readonly pid: number
  readonly stdout: Readable
  readonly stderr: Readable
  /** Standard input, where the command was started with it. */
  readonly stdin: Writable
  readonly #client: Client
  readonly #path: string
  readonly #offsets: { stdout: number; stderr: number }
  readonly #ended: Promise<ProcessInfo>
  readonly #stop = new AbortController()

  constructor(client: Client, sandbox: string, info: ProcessInfo, options: AttachOptions) {
    this.process = info.process
    this.pid = info.pid
    this.#client = client
    this.#path = `/v1/sandboxes/${encodeURIComponent(sandbox)}/commands/${encodeURIComponent(info.process)}`
    this.#offsets = { stdout: options.stdoutOffset ?? 0, stderr: options.stderrOffset ?? 0 }
    this.stdout = new PassThrough()
    this.stderr = new PassThrough()
    this.stdin = this.#makeStdin()
    this.#ended = this.#follow(options)
    this.#ended.catch(() => {}) // wait() and the streams tell it
  }

  /** Resolves when the command has ended and all its output was delivered. */
  async wait(): Promise<ExitStatus> {
    const info = await this.#ended
    return {
      exitCode: info.exitCode,
      signal: info.signal,
      timedOut: info.timedOut,
      oomKilled: info.oomKilled,
    }
  }

  /** Signals the command and what it started in its process group. Default: SIGKILL. */
  async kill(signal = 'SIGKILL'): Promise<void> {
    try {
      await this.#client.json({ method: 'POST', path: `${this.#path}/signal`, json: { signal } })
    } catch (error) {
      // it ended by itself meanwhile, which is what was wanted
      if (!(error instanceof DeltaBoxError && error.code === 'process_ended')) throw error
    }
  }

  async sendStdin(data: string | Uint8Array): Promise<void> {
    const body = typeof data === 'string' ? Buffer.from(data) : data
    await this.#client.json({ method: 'POST', path: `${this.#path}/stdin`, body })
  }

  async closeStdin(): Promise<void> {
    await this.#client.json({
      method: 'POST',
      path: `${this.#path}/stdin`,
      query: { close: true },
      body: Buffer.alloc(0),
    })
  }

  async resize(size: TtySize): Promise<void> {
    await this.#client.json({ method: 'POST', path: `${this.#path}/resize`, json: size })
  }

  /** Reads and forgets, for callers that only wait. */
  discardOutput(): void {
    this.stdout.resume()
    this.stderr.resume()
  }

  /** Stops following; the command goes on. */
  disconnect(): void {
    this.#stop.abort(new DeltaBoxError('aborted', 'The handle was disconnected'))
  }

  #makeStdin(): Writable {
    return new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        this.sendStdin(chunk).then(() => done(), done)
      },
      final: (done) => {
        this.closeStdin().then(() => done(), done)
      },
    })
  }

  async #follow(options: AttachOptions): Promise<ProcessInfo> {
    try {
      const info = await this.#followUntilExit(options)
      ;(this.stdout as PassThrough).end()
      ;(this.stderr as PassThrough).end()
      return info
    } catch (error) {
      // An error event without a listener would end the program; wait() carries the error to whoever looks.
      for (const stream of [this.stdout, this.stderr]) {
        stream.once('error', () => {})
        stream.destroy(error as Error)
      }
      throw error
    }
  }

  /** Goes on at the same offsets when the daemon is restarted: it finds the command again. */
  async #followUntilExit(options: AttachOptions): Promise<ProcessInfo> {
    let giveUpAt = Date.now() + RECONNECT_MS
    for (;;) {
      try {
        const response = await this.#open(options)
        const info = await this.#consume(response)
        if (info) return info
        giveUpAt = Date.now() + RECONNECT_MS
      } catch (error) {
        if (this.#stop.signal.aborted) throw abortedError(this.#stop.signal)
        if (!mayPass(error) || Date.now() > giveUpAt) throw error
      }
      await delay(RECONNECT_PAUSE_MS)
    }
  }

  #open(options: AttachOptions): Promise<IncomingMessage> {
    return this.#client.send({
      method: 'GET',
      path: `${this.#path}/output`,
      query: { ...this.#offsets, follow: options.follow ?? true, attach: options.attach ?? true },
      signal: this.#stop.signal,
    })
  }

  /** Reads one response to its end; null when the connection broke before the exit was told. */
  async #consume(response: IncomingMessage): Promise<ProcessInfo | null> {
    const decoder = new OutputDecoder()
    for await (const chunk of response) {
      for (const frame of decoder.push(chunk as Buffer)) {
        const info = await this.#take(frame.type, frame.payload)
        if (info) return info
      }
    }
    return null
  }

  async #take(type: number, payload: Buffer): Promise<ProcessInfo | null> {
    switch (type) {
      case OutputFrame.stdout:
      case OutputFrame.stderr:
        await this.#deliver(type === OutputFrame.stdout ? 'stdout' : 'stderr', payload)
        return null
      case OutputFrame.gap: {
        const { stream, offset } = JSON.parse(payload.toString()) as {
          stream: 'stdout' | 'stderr'
          offset: number
        }
        this.#offsets[stream] = offset
        return null
      }
      case OutputFrame.exit:
        return JSON.parse(payload.toString()) as ProcessInfo
      case OutputFrame.error:
        throw errorFromBody(JSON.parse(payload.toString()) as ErrorBody)
      default:
        throw new DeltaBoxError('internal', `The daemon sent an unknown output frame (${type})`)
    }
  }

  async #deliver(name: 'stdout' | 'stderr', payload: Buffer): Promise<void> {
    const stream = this[name] as PassThrough
    this.#offsets[name] += payload.length
    if (stream.destroyed) return // its reader is gone; the other stream goes on
    if (!stream.write(payload)) await writable(stream)
  }
}
