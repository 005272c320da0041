import type { IncomingMessage } from 'node:http'
import type { DaemonInfo } from '@deltabox/protocol'
import { DeltaBoxError } from '@deltabox/protocol/errors'
import { type Address, dataDirOf, parseUrl, socketOf } from './address.js'
import { cancellable, throwIfAborted } from './cancel.js'
import { answers, startDaemon } from './start-daemon.js'
import { type Call, ConnectionError, readAll, Transport } from './transport.js'

export interface ClientOptions {
  /** `unix:///PATH` or `http://HOST:PORT`. Default: DELTABOX_URL, else the daemon of this user's data directory. */
  readonly url?: string
  /** Default: DELTABOX_TOKEN. */
  readonly token?: string
}

/** The way to one daemon. The default one starts the daemon when it does not run. */
export class Client {
  static #default: Client | undefined
  readonly #transport: Transport
  readonly #where: string
  /** Set where the daemon may be started from here. */
  readonly #home: { readonly dataDir: string; readonly socketPath: string } | undefined
  #starting: Promise<void> | undefined

  constructor(options: ClientOptions = {}) {
    const url = options.url || process.env.DELTABOX_URL
    let address: Address
    if (url) {
      address = parseUrl(url)
    } else {
      const dataDir = dataDirOf(process.env)
      address = { kind: 'unix', socketPath: socketOf(dataDir, process.env) }
      this.#home = { dataDir, socketPath: address.socketPath }
    }
    this.#where = address.kind === 'unix' ? address.socketPath : `${address.host}:${address.port}`
    this.#transport = new Transport(address, options.token ?? process.env.DELTABOX_TOKEN)
  }

  static default(): Client {
    Client.#default ??= new Client()
    return Client.#default
  }

  /** Sends a call, starting the daemon first where that is this client's to do. */
  async send(call: Call): Promise<IncomingMessage> {
    try {
      return await this.#transport.send(call)
    } catch (error) {
      if (!(error instanceof ConnectionError)) throw error
      const resendable = error.beforeSend || (call.method === 'GET' && !call.body)
      if (!resendable) throw this.#unreachable(error)
    }
    if (this.#home) await cancellable(this.#start(this.#home), call.signal)
    try {
      return await this.#transport.send(call)
    } catch (error) {
      throw error instanceof ConnectionError ? this.#unreachable(error) : error
    }
  }

  /** The whole body of the answer. */
  async bytes(call: Call): Promise<Buffer> {
    const response = await this.send(call)
    try {
      return await readAll(response)
    } catch (cause) {
      throwIfAborted(call.signal)
      throw this.#unreachable(cause as Error)
    }
  }

  async json<T>(call: Call): Promise<T> {
    const body = await this.bytes(call)
    return (body.length === 0 ? undefined : JSON.parse(body.toString('utf8'))) as T
  }

  info(signal?: AbortSignal): Promise<DaemonInfo> {
    return this.json<DaemonInfo>({ method: 'GET', path: '/v1/info', signal })
  }

  /** What the daemon tells of itself, or null when none runs; starts nothing. */
  async infoIfRunning(): Promise<DaemonInfo | null> {
    if (this.#home && !(await answers(this.#home.socketPath))) return null
    return this.info()
  }

  /** Ends the daemon; its sandboxes live on and are found again by the next one. */
  async shutdown(): Promise<void> {
    await this.json({ method: 'POST', path: '/v1/shutdown' })
  }

  async #start(home: { readonly dataDir: string; readonly socketPath: string }): Promise<void> {
    this.#starting ??= startDaemon(home.dataDir, home.socketPath).finally(() => {
      this.#starting = undefined
    })
    await this.#starting
  }

  #unreachable(error: Error): DeltaBoxError {
    return new DeltaBoxError('daemon_unreachable', `No daemon answers at ${this.#where}: ${error.message}`, {
      cause: error,
    })
  }
}
