import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { ErrorBody, ProcessInfo } from '@deltabox/protocol'
import { DeltaBoxError } from '@deltabox/protocol/errors'
import { OutputFrame } from '@deltabox/protocol/output-frames'
import { throwIfAborted } from './cancel.js'
import type { Client } from './client.js'
import { OutputDecoder } from './output-decoder.js'
import { errorFromBody } from './transport.js'

/** How long a daemon that went away may take to come back. */
const RECONNECT_MS = 20_000
const RECONNECT_PAUSE_MS = 100
/** Bytes a stream holds for a reader that is slower than the command. */
const BUFFER_BYTES = 256 * 1024

export type StreamName = 'stdout' | 'stderr'

export interface OutputQuery {
  readonly attach: boolean
  readonly follow: boolean
}

/** A stream of the command as its reader sees it: `room` resolves when it takes more, or never will. */
class Outlet {
  readonly readable: Readable
  #wanted: (() => void) | undefined

  constructor() {
    const go = (): void => {
      this.#wanted?.()
      this.#wanted = undefined
    }
    this.readable = new Readable({
      highWaterMark: BUFFER_BYTES,
      read: go,
      destroy: (error, done) => {
        go()
        done(error)
      },
    })
    // An error event without a listener would end the program; wait() and whoever reads are told all the same.
    this.readable.on('error', () => {})
  }

  async deliver(bytes: Buffer): Promise<void> {
    if (this.readable.destroyed || this.readable.push(bytes)) return
    await new Promise<void>((resolve) => {
      this.#wanted = resolve
    })
  }
}

/**
 * Follows the output of one command over any number of connections. A stream nobody asked for is read past, so it never
 * holds the command or the other stream up; asked for later, it begins with the oldest bytes the daemon still has.
 */
export class Output {
  /** Bytes that were gone before they could be read. */
  readonly dropped: Record<StreamName, number> = { stdout: 0, stderr: 0 }
  readonly #client: Client
  readonly #path: string
  readonly #query: OutputQuery
  readonly #offsets: Record<StreamName, number> = { stdout: 0, stderr: 0 }
  readonly #outlets: Partial<Record<StreamName, Outlet>> = {}
  readonly #stop = new AbortController()
  /** Ends the connection under way, to ask again from other offsets. */
  #again = new AbortController()
  #following: Promise<ProcessInfo | null> | undefined

  constructor(client: Client, path: string, query: OutputQuery) {
    this.#client = client
    this.#path = path
    this.#query = query
  }

  stream(name: StreamName): Readable {
    const outlet = this.#outlets[name]
    if (outlet) return outlet.readable
    const made = new Outlet()
    this.#outlets[name] = made
    if (this.#offsets[name] > 0) {
      this.#offsets[name] = 0
      this.#again.abort()
    }
    this.begin()
    return made.readable
  }

  begin(): void {
    if (this.#following) return
    this.#following = this.#followToEnd()
    this.#following.catch(() => {}) // end() and the streams tell it
  }

  /** What the last frame told; null when the command runs on and only what there was had been asked for. */
  end(): Promise<ProcessInfo | null> {
    this.begin()
    return this.#following as Promise<ProcessInfo | null>
  }

  stop(): void {
    this.#stop.abort(new DeltaBoxError('aborted', 'The handle was disconnected'))
  }

  async #followToEnd(): Promise<ProcessInfo | null> {
    try {
      const info = await this.#untilLastFrame()
      for (const outlet of Object.values(this.#outlets)) outlet.readable.push(null)
      // A stream asked for after the end is read in a pass of its own.
      this.#following = this.#missing() ? undefined : Promise.resolve(info)
      return info
    } catch (error) {
      for (const outlet of Object.values(this.#outlets)) outlet.readable.destroy(error as Error)
      throw error
    }
  }

  #missing(): boolean {
    return !(this.#outlets.stdout && this.#outlets.stderr)
  }

  /** Goes on at the same offsets when the daemon is restarted: it finds the command again. */
  async #untilLastFrame(): Promise<ProcessInfo | null> {
    let lostAt: number | undefined
    for (;;) {
      this.#again = new AbortController()
      try {
        const response = await this.#open()
        lostAt = undefined
        const info = await this.#consume(response)
        if (!this.#again.signal.aborted && (info || !this.#query.follow)) return info
      } catch (error) {
        this.#throwIfFinal(error, lostAt)
        if (!this.#again.signal.aborted) lostAt ??= Date.now()
      }
      if (!this.#again.signal.aborted) await delay(RECONNECT_PAUSE_MS)
    }
  }

  #throwIfFinal(error: unknown, lostAt = Date.now()): void {
    throwIfAborted(this.#stop.signal)
    if (this.#again.signal.aborted) return
    if (!mayPass(error) || Date.now() - lostAt > RECONNECT_MS) throw error
  }

  #open(): Promise<IncomingMessage> {
    return this.#client.send({
      method: 'GET',
      path: this.#path,
      query: { ...this.#offsets, ...this.#query },
      signal: AbortSignal.any([this.#stop.signal, this.#again.signal]),
    })
  }

  /** Reads one response to its end; null when it ended before the exit was told. */
  async #consume(response: IncomingMessage): Promise<ProcessInfo | null> {
    const decoder = new OutputDecoder()
    const again = this.#again.signal
    for await (const chunk of response) {
      for (const frame of decoder.push(chunk as Buffer)) {
        // Offsets were set anew while a slow reader was waited for: what this connection still holds is not theirs.
        if (again.aborted) return null
        const info = await this.#take(frame.type, frame.payload)
        if (info) return info
      }
    }
    return null
  }

  async #take(type: number, payload: Buffer): Promise<ProcessInfo | null> {
    switch (type) {
      case OutputFrame.stdout:
        await this.#deliver('stdout', payload)
        return null
      case OutputFrame.stderr:
        await this.#deliver('stderr', payload)
        return null
      case OutputFrame.gap: {
        const { stream, offset } = JSON.parse(payload.toString()) as { stream: StreamName; offset: number }
        this.dropped[stream] += offset - this.#offsets[stream]
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

  async #deliver(name: StreamName, payload: Buffer): Promise<void> {
    this.#offsets[name] += payload.length
    await this.#outlets[name]?.deliver(payload)
  }
}

/** A broken connection may be a daemon that is restarting; what the daemon itself said is final. */
function mayPass(error: unknown): boolean {
  const { code } = error as { code?: unknown }
  return code === 'daemon_unreachable' || code === 'ECONNRESET' || code === 'ERR_STREAM_PREMATURE_CLOSE'
}
