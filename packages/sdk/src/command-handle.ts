import { type Readable, Writable } from 'node:stream'
import type { ProcessInfo, TtySize } from '@deltabox/protocol'
import { DeltaBoxError } from '@deltabox/protocol/errors'
import { type CallOptions, cancellable } from './cancel.js'
import type { Client } from './client.js'
import { Output, type OutputQuery, type StreamName } from './output.js'

export interface ExitStatus {
  /** null when a signal ended the command. */
  readonly exitCode: number | null
  readonly signal: string | null
  readonly timedOut: boolean
  readonly oomKilled: boolean
}

/**
 * A command in a sandbox: its streams, its end. Nothing is read before a stream is asked for or `wait` is called: what
 * is printed until then is kept, and a command that is not detached waits when that is more than 4 MiB. From then on a
 * stream that is read slowly slows the command; one that is not asked for holds nothing up.
 */
export class CommandHandle {
  readonly process: string
  /** The process id inside the sandbox. */
  readonly pid: number
  readonly #client: Client
  readonly #path: string
  readonly #output: Output
  #stdin: Writable | undefined

  constructor(client: Client, sandbox: string, info: ProcessInfo, query: OutputQuery) {
    this.process = info.process
    this.pid = info.pid
    this.#client = client
    this.#path = `/v1/sandboxes/${encodeURIComponent(sandbox)}/commands/${encodeURIComponent(info.process)}`
    this.#output = new Output(client, `${this.#path}/output`, query)
  }

  /** Bytes, from the command's first one or the oldest the daemon still has. */
  get stdout(): Readable {
    return this.#output.stream('stdout')
  }

  get stderr(): Readable {
    return this.#output.stream('stderr')
  }

  /** How many bytes of each stream were gone before they could be read. */
  get dropped(): Readonly<Record<StreamName, number>> {
    return this.#output.dropped
  }

  /** Standard input, where the command was started with it. */
  get stdin(): Writable {
    this.#stdin ??= new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        this.sendStdin(chunk).then(() => done(), done)
      },
      final: (done) => {
        this.closeStdin().then(() => done(), done)
      },
    })
    return this.#stdin
  }

  /** Resolves when the command has ended and the streams that were asked for were delivered. */
  async wait(options: CallOptions = {}): Promise<ExitStatus> {
    const info = await cancellable(this.#output.end(), options.signal)
    if (!info)
      throw new DeltaBoxError('invalid_request', 'The command runs on and this handle does not follow it')
    return {
      exitCode: info.exitCode,
      signal: info.signal,
      timedOut: info.timedOut,
      oomKilled: info.oomKilled,
    }
  }

  /** Signals the command and what it started in its process group. Default: SIGKILL. */
  async kill(name = 'SIGKILL', options: CallOptions = {}): Promise<void> {
    try {
      await this.#post('signal', { json: { signal: name } }, options)
    } catch (error) {
      // it ended by itself meanwhile, which is what was wanted
      if (!(error instanceof DeltaBoxError && error.code === 'process_ended')) throw error
    }
  }

  /** Resolves once the command's pipe or terminal took all of it. */
  async sendStdin(data: string | Uint8Array, options: CallOptions = {}): Promise<void> {
    await this.#post('stdin', { body: typeof data === 'string' ? Buffer.from(data) : data }, options)
  }

  async closeStdin(options: CallOptions = {}): Promise<void> {
    await this.#post('stdin', { query: { close: true }, body: Buffer.alloc(0) }, options)
  }

  async resize(size: TtySize, options: CallOptions = {}): Promise<void> {
    await this.#post('resize', { json: size }, options)
  }

  /** Stops following; the command goes on. */
  disconnect(): void {
    this.#output.stop()
  }

  #post(
    what: string,
    content: { json?: unknown; body?: Uint8Array; query?: Record<string, boolean> },
    options: CallOptions,
  ): Promise<unknown> {
    return this.#client.json({
      method: 'POST',
      path: `${this.#path}/${what}`,
      ...content,
      signal: options.signal,
    })
  }
}
