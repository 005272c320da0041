import { Agent, type ClientRequest, type IncomingMessage, request } from 'node:http'
import { type Readable, Readable as ReadableStream } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { ErrorBody, ErrorCode } from '@deltabox/protocol'
import { DeltaBoxError, errorCatalogue } from '@deltabox/protocol/errors'
import type { Address } from './address.js'
import { abortedError, throwIfAborted } from './cancel.js'

export interface Call {
  readonly method: string
  readonly path: string
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>
  readonly json?: unknown
  readonly body?: Readable | Uint8Array
  readonly signal?: AbortSignal | undefined
}

/** The connection to the daemon failed; `beforeSend` tells that it never took the request. */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError'
  readonly beforeSend: boolean

  constructor(cause: NodeJS.ErrnoException, streamed: boolean) {
    super(cause.message, { cause })
    // EPIPE is told of a kept connection whose daemon had gone before a byte was taken. A stream's may have been some.
    this.beforeSend = cause.syscall === 'connect' ? isNobody(cause) : cause.code === 'EPIPE' && !streamed
  }
}

function isNobody(error: NodeJS.ErrnoException): boolean {
  return error.code === 'ENOENT' || error.code === 'ECONNREFUSED'
}

function isErrorCode(code: string): code is ErrorCode {
  return code in errorCatalogue
}

export function errorFromBody(body: ErrorBody): DeltaBoxError {
  const { code, message, details } = body.error
  return new DeltaBoxError(isErrorCode(code) ? code : 'internal', message, { details })
}

export async function readAll(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function errorFromResponse(response: IncomingMessage): Promise<DeltaBoxError> {
  const text = (await readAll(response)).toString('utf8')
  try {
    return errorFromBody(JSON.parse(text) as ErrorBody)
  } catch (cause) {
    return new DeltaBoxError(
      'internal',
      `The daemon answered ${response.statusCode} with ${text.slice(0, 200)}`,
      { cause },
    )
  }
}

/** HTTP to one daemon, over a unix socket or TCP. */
export class Transport {
  readonly #address: Address
  readonly #token: string | undefined
  readonly #agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY })

  constructor(address: Address, token?: string) {
    this.#address = address
    this.#token = token
  }

  /** Sends the call and gives the response once its head is there; an error status becomes the error it tells. */
  async send(call: Call): Promise<IncomingMessage> {
    throwIfAborted(call.signal)
    const response = await this.#exchange(call)
    if ((response.statusCode ?? 500) >= 400) throw await errorFromResponse(response)
    return response
  }

  #exchange(call: Call): Promise<IncomingMessage> {
    const json = call.json === undefined ? undefined : JSON.stringify(call.json)
    const message = this.#open(call, json)
    let sourceFault: DeltaBoxError | undefined
    return new Promise((resolve, reject) => {
      message.once('response', resolve)
      message.on('error', (error: NodeJS.ErrnoException) => {
        if (call.signal?.aborted) reject(abortedError(call.signal))
        else reject(sourceFault ?? new ConnectionError(error, call.body instanceof ReadableStream))
      })
      if (call.body instanceof ReadableStream) {
        call.body.once('error', (cause: Error) => {
          sourceFault = new DeltaBoxError(
            'invalid_request',
            `The data to send cannot be read: ${cause.message}`,
            { cause },
          )
        })
        upload(call.body, message)
      } else {
        message.end(json ?? call.body)
      }
    })
  }

  #open(call: Call, json: string | undefined): ClientRequest {
    const suffix = call.query ? suffixOf(call.query) : ''
    const headers: Record<string, string | number> = {}
    if (this.#token) headers.authorization = `Bearer ${this.#token}`
    if (json !== undefined) {
      headers['content-type'] = 'application/json'
      headers['content-length'] = Buffer.byteLength(json)
    } else if (call.body) {
      headers['content-type'] = 'application/octet-stream'
    }
    const target =
      this.#address.kind === 'unix'
        ? { socketPath: this.#address.socketPath }
        : { host: this.#address.host, port: this.#address.port }
    return request({
      ...target,
      agent: this.#agent,
      method: call.method,
      path: call.path + suffix,
      headers,
      ...(call.signal ? { signal: call.signal } : {}),
    })
  }
}

function suffixOf(wanted: NonNullable<Call['query']>): string {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(wanted)) {
    if (value !== undefined) query.set(name, String(value))
  }
  return query.size > 0 ? `?${query}` : ''
}

/** Nothing of the source is taken before the daemon is known to be there, so that the call can be made again. */
function upload(source: Readable, message: ClientRequest): void {
  const start = (): void => {
    // The message's own error event tells what went wrong; the answer may come before all was sent.
    pipeline(source, message).catch((error: Error) => message.destroy(error))
  }
  message.once('socket', (socket) => {
    if (socket.connecting) socket.once('connect', start)
    else start()
  })
}
