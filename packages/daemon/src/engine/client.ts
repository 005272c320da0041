/** One connection to one engine. */
import { createConnection, type Socket } from 'node:net'
import type { EngineEvent, EngineObstacle, Hello, Ok, OperationName, Parameters, Part } from './messages.js'
import { encodeFrame, type Fields, FrameDecoder, WIRE_VERSION, WireError } from './wire.js'

/** An engine that is alive answers these at once: it has one thread and no long work on it. */
const CONNECT_TIMEOUT_MS = 10_000

/** The engine could not do what was asked; `errno` is 0 when no system call failed. */
export class EngineError extends Error {
  override readonly name = 'EngineError'
  readonly code: string
  readonly errno: number
  readonly step: string
  readonly object: string
  /** What forbids a checkpoint. */
  readonly obstacles: readonly EngineObstacle[]
  /** How many there are beside these. */
  readonly moreObstacles: number

  constructor(fields: Fields) {
    super(textOf(fields.message))
    this.code = textOf(fields.code)
    this.errno = Number(fields.errno ?? 0)
    this.step = textOf(fields.step)
    this.object = textOf(fields.object)
    this.obstacles = (fields.objects as readonly EngineObstacle[] | undefined) ?? []
    this.moreObstacles = Number(fields.more ?? 0)
  }
}

/** The connection is gone, and the engine with it: it never closes one by itself. */
export class EngineLostError extends Error {
  override readonly name = 'EngineLostError'
}

export interface EngineListener {
  event(event: EngineEvent): void
  /** Not called for a connection that `close` ends. */
  lost(error: EngineLostError): void
  answered(operation: OperationName, failed: boolean): void
}

interface Pending {
  readonly operation: OperationName
  readonly part: ((part: Fields) => void) | undefined
  readonly resolve: (ok: unknown) => void
  readonly reject: (error: Error) => void
}

export class EngineClient {
  readonly #socket: Socket
  readonly #listener: EngineListener
  readonly #decoder = new FrameDecoder()
  readonly #pending = new Map<number, Pending>()
  #lastId = 0
  #gone: EngineLostError | undefined
  #closing = false

  private constructor(socket: Socket, listener: EngineListener) {
    this.#socket = socket
    this.#listener = listener
    let fault: Error | undefined
    socket.on('data', (piece: Buffer) => this.#receive(piece))
    socket.on('error', (error) => {
      fault = error
    })
    socket.on('close', () => this.#end(fault))
  }

  /** `hello` is the engine's whole state at this moment; events tell what changes after it. */
  static async connect(
    socketPath: string,
    listener: EngineListener,
  ): Promise<{ client: EngineClient; hello: Hello }> {
    const socket = await openSocket(socketPath)
    const client = new EngineClient(socket, listener)
    const timer = setTimeout(() => socket.destroy(new Error('no answer to hello')), CONNECT_TIMEOUT_MS)
    try {
      return { client, hello: await client.request('hello', { version: WIRE_VERSION }) }
    } catch (error) {
      client.close()
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  get lost(): boolean {
    return this.#gone !== undefined
  }

  request<Name extends OperationName>(
    operation: Name,
    parameters: Parameters<Name>,
    part?: (part: Part<Name>) => void,
  ): Promise<Ok<Name>> {
    return new Promise((resolve, reject) => {
      if (this.#gone) throw this.#gone
      const id = ++this.#lastId
      const frame = encodeFrame({ id, op: operation, ...parameters })
      this.#pending.set(id, {
        operation,
        part: part as ((part: Fields) => void) | undefined,
        resolve: resolve as (ok: unknown) => void,
        reject,
      })
      this.#socket.write(frame)
    })
  }

  /** Leaves the engine and its sandboxes running. */
  close(): void {
    this.#closing = true
    this.#socket.destroy()
  }

  #receive(piece: Buffer): void {
    try {
      for (const message of this.#decoder.push(piece)) this.#dispatch(message)
    } catch (error) {
      if (!(error instanceof WireError)) throw error
      this.#socket.destroy(error)
    }
  }

  #dispatch(message: Fields): void {
    if ('event' in message) {
      this.#listener.event(message as unknown as EngineEvent)
      return
    }
    const id = Number(message.id)
    const pending = this.#pending.get(id)
    if (!pending) throw new WireError(`a reply to request ${id}, which was not made`)
    if ('part' in message) {
      pending.part?.(message.part as Fields)
      return
    }
    this.#pending.delete(id)
    this.#listener.answered(pending.operation, !('ok' in message))
    if ('ok' in message) pending.resolve(message.ok)
    else pending.reject(new EngineError(message.error as Fields))
  }

  #end(fault: Error | undefined): void {
    const why = fault?.message ?? (this.#closing ? 'the daemon closed the connection' : 'it ended')
    this.#gone = new EngineLostError(`the engine is gone: ${why}`, { cause: fault })
    for (const pending of this.#pending.values()) pending.reject(this.#gone)
    this.#pending.clear()
    if (!this.#closing) this.#listener.lost(this.#gone)
  }
}

function openSocket(socketPath: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(socketPath)
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => socket.destroy(new Error('no answer')))
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.setTimeout(0)
      socket.off('error', reject)
      resolve(socket)
    })
  })
}

/** Names from inside a sandbox are bytes; in a message what is not UTF-8 shows as U+FFFD. */
function textOf(value: unknown): string {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('utf8')
  return typeof value === 'string' ? value : ''
}
