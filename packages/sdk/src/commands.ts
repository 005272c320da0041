import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { ProcessInfo, ProcessList, TtySize } from '@deltabox/protocol'
import { DeltaBoxError } from '@deltabox/protocol/errors'
import type { Client } from './client.js'
import { CommandHandle } from './command-handle.js'
import { abortedError } from './transport.js'

export interface StartOptions {
  /** Default: the sandbox's working directory. */
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
  /** A name from the sandbox's passwd, or `uid[:gid]`. Default: root. */
  readonly user?: string
  /** A terminal of this size; standard output and error become one stream. */
  readonly tty?: TtySize
  /** Keeps standard input open for sendStdin. Default: false. */
  readonly stdin?: boolean
  /** Lets the command run without a reader: only the last 4 MiB of each stream are kept. Default: false. */
  readonly detached?: boolean
  /** Milliseconds after which the command is killed. Default: none. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

export interface RunOptions extends Omit<StartOptions, 'stdin' | 'detached' | 'tty'> {
  /** What the command reads; without it standard input is empty. */
  readonly stdin?: string | Uint8Array | Readable
  readonly onStdout?: (chunk: Buffer) => void
  readonly onStderr?: (chunk: Buffer) => void
  /** Most bytes collected of each stream. Default: 64 MiB; more is an error. */
  readonly maxOutputBytes?: number
}

export interface ExitStatus {
  /** null when a signal ended the command. */
  readonly exitCode: number | null
  readonly signal: string | null
  readonly timedOut: boolean
  readonly oomKilled: boolean
}

export interface CommandResult<Output = string> {
  readonly exitCode: number | null
  readonly signal: string | null
  readonly stdout: Output
  readonly stderr: Output
}

export interface AttachOptions {
  /** Whether this is the command's client, whose reading lets it go on. Default: true. */
  readonly attach?: boolean
  /** Stay until the command ends. Default: true. */
  readonly follow?: boolean
  /** Bytes of the stream to skip. Default: 0. */
  readonly stdoutOffset?: number
  readonly stderrOffset?: number
}

const MAX_OUTPUT_BYTES = 64 * 1024 * 1024

class Collector {
  readonly #chunks: Buffer[] = []
  #bytes = 0

  async drain(stream: Readable, name: string, limit: number, tap?: (chunk: Buffer) => void): Promise<void> {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      this.#bytes += chunk.length
      if (this.#bytes > limit) {
        throw new DeltaBoxError(
          'invalid_request',
          `The command printed more than ${limit} bytes on ${name}: read it as a stream (commands.start) or raise maxOutputBytes`,
        )
      }
      tap?.(chunk)
      this.#chunks.push(chunk)
    }
  }

  bytes(): Buffer {
    return Buffer.concat(this.#chunks)
  }
}

/** Commands of one sandbox. */
export class Commands {
  readonly #client: Client
  readonly #sandbox: string

  constructor(client: Client, sandbox: string) {
    this.#client = client
    this.#sandbox = sandbox
  }

  get #path(): string {
    return `/v1/sandboxes/${encodeURIComponent(this.#sandbox)}/commands`
  }

  /** Starts a command (a string is for `/bin/sh -c`, a list is executed as it is) and returns a handle to it. */
  async start(command: string | readonly string[], options: StartOptions = {}): Promise<CommandHandle> {
    const { signal, ...rest } = options
    const info = await this.#client.json<ProcessInfo>({
      method: 'POST',
      path: this.#path,
      json: { command, ...rest },
      signal,
    })
    return new CommandHandle(this.#client, this.#sandbox, info, { attach: !options.detached })
  }

  /** Starts a command and leaves it running; its output is kept for `connect` and `logs`. */
  startDetached(
    command: string | readonly string[],
    options: Omit<StartOptions, 'detached'> = {},
  ): Promise<ProcessInfo> {
    const { signal, ...rest } = options
    return this.#client.json<ProcessInfo>({
      method: 'POST',
      path: this.#path,
      json: { command, ...rest, detached: true },
      signal,
    })
  }

  /** A handle to a command started earlier. */
  async connect(process: string, options: AttachOptions = {}): Promise<CommandHandle> {
    const info = await this.info(process)
    return new CommandHandle(this.#client, this.#sandbox, info, options)
  }

  info(process: string): Promise<ProcessInfo> {
    return this.#client.json<ProcessInfo>({
      method: 'GET',
      path: `${this.#path}/${encodeURIComponent(process)}`,
    })
  }

  async list(options: { readonly signal?: AbortSignal } = {}): Promise<ProcessInfo[]> {
    const list = await this.#client.json<ProcessList>({
      method: 'GET',
      path: this.#path,
      signal: options.signal,
    })
    return list.processes
  }

  async kill(process: string, signal = 'SIGKILL'): Promise<void> {
    await this.#client.json({
      method: 'POST',
      path: `${this.#path}/${encodeURIComponent(process)}/signal`,
      json: { signal },
    })
  }

  /** Runs a command to its end and returns what it printed. A status other than 0 is a result, not an error. */
  run(
    command: string | readonly string[],
    options?: RunOptions & { encoding?: 'utf8' },
  ): Promise<CommandResult>
  run(
    command: string | readonly string[],
    options: RunOptions & { encoding: 'buffer' },
  ): Promise<CommandResult<Buffer>>
  async run(
    command: string | readonly string[],
    options: RunOptions & { encoding?: 'utf8' | 'buffer' } = {},
  ): Promise<CommandResult<string | Buffer>> {
    const { stdin, onStdout, onStderr, maxOutputBytes, encoding, signal, ...rest } = options
    const handle = await this.start(command, {
      ...rest,
      stdin: stdin !== undefined,
      ...(signal ? { signal } : {}),
    })
    const abort = (): void => {
      handle.kill().catch(() => {}) // the rejection below tells; the sandbox may be gone altogether
    }
    signal?.addEventListener('abort', abort, { once: true })
    if (signal?.aborted) abort()
    const out = new Collector()
    const err = new Collector()
    const limit = maxOutputBytes ?? MAX_OUTPUT_BYTES
    try {
      const [status] = await Promise.all([
        handle.wait(),
        out.drain(handle.stdout, 'stdout', limit, onStdout),
        err.drain(handle.stderr, 'stderr', limit, onStderr),
        feed(handle, stdin),
      ])
      const as = (bytes: Buffer): string | Buffer => (encoding === 'buffer' ? bytes : bytes.toString('utf8'))
      const result = {
        exitCode: status.exitCode,
        signal: status.signal,
        stdout: as(out.bytes()),
        stderr: as(err.bytes()),
      }
      if (signal?.aborted) throw abortedError(signal)
      if (status.timedOut) {
        throw new DeltaBoxError(
          'timeout',
          `The command ran longer than ${options.timeoutMs} ms and was killed`,
          {
            details: { stdout: result.stdout, stderr: result.stderr },
          },
        )
      }
      return result
    } catch (error) {
      if (!(error instanceof DeltaBoxError && error.code === 'timeout')) abort()
      throw error
    } finally {
      signal?.removeEventListener('abort', abort)
    }
  }
}

/** A command need not read all it is given: what it leaves is no error. */
async function feed(handle: CommandHandle, stdin: RunOptions['stdin']): Promise<void> {
  if (stdin === undefined) return
  const source =
    stdin instanceof Readable
      ? stdin
      : Readable.from([typeof stdin === 'string' ? Buffer.from(stdin) : stdin], { objectMode: false })
  try {
    await pipeline(source, handle.stdin)
  } catch (error) {
    if (
      !(error instanceof DeltaBoxError && (error.code === 'stdin_closed' || error.code === 'process_ended'))
    )
      throw error
  }
}
