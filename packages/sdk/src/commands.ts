import type { ProcessInfo, ProcessList, TtySize } from '@deltabox/protocol'
import { DeltaBoxError } from '@deltabox/protocol/errors'
import { abortedError, type CallOptions, throwIfAborted } from './cancel.js'
import type { Client } from './client.js'
import { type CollectOptions, collect } from './collect.js'
import { CommandHandle } from './command-handle.js'
import type { OutputQuery } from './output.js'

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
  readonly signal?: AbortSignal | undefined
}

export interface RunOptions
  extends Omit<StartOptions, 'stdin' | 'detached' | 'tty' | 'signal'>,
    CollectOptions {}

export interface CommandResult<Output = string> {
  readonly exitCode: number | null
  readonly signal: string | null
  readonly stdout: Output
  readonly stderr: Output
}

export interface ConnectOptions extends CallOptions {
  /** Whether this is the command's client, whose reading lets it go on. Default: true. */
  readonly attach?: boolean
  /** Stay until the command ends; otherwise the streams end with what was printed so far. Default: true. */
  readonly follow?: boolean
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
    const info = await this.#start(command, options)
    return this.#handle(info, { attach: !options.detached, follow: true })
  }

  /** Starts a command and leaves it running; its output is kept for `connect` and `logs`. */
  startDetached(
    command: string | readonly string[],
    options: Omit<StartOptions, 'detached'> = {},
  ): Promise<ProcessInfo> {
    return this.#start(command, { ...options, detached: true })
  }

  /** A handle to a command started earlier. */
  async connect(process: string, options: ConnectOptions = {}): Promise<CommandHandle> {
    const info = await this.info(process, options)
    return this.#handle(info, { attach: options.attach ?? true, follow: options.follow ?? true })
  }

  info(process: string, options: CallOptions = {}): Promise<ProcessInfo> {
    return this.#client.json<ProcessInfo>({
      method: 'GET',
      path: `${this.#path}/${encodeURIComponent(process)}`,
      signal: options.signal,
    })
  }

  async list(options: CallOptions = {}): Promise<ProcessInfo[]> {
    const list = await this.#client.json<ProcessList>({
      method: 'GET',
      path: this.#path,
      signal: options.signal,
    })
    return list.processes
  }

  async kill(process: string, name = 'SIGKILL', options: CallOptions = {}): Promise<void> {
    await this.#client.json({
      method: 'POST',
      path: `${this.#path}/${encodeURIComponent(process)}/signal`,
      json: { signal: name },
      signal: options.signal,
    })
  }

  /**
   * Runs a command to its end and returns what it printed. A status other than 0 is a result, not an error. A time
   * limit, a cancelled signal or too much output kill the command with its process group.
   */
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
    const { stdin, onStdout, onStderr, maxOutputBytes, encoding, ...start } = options
    const handle = await this.start(command, { ...start, stdin: stdin !== undefined })
    const { status, stdout, stderr } = await collect(handle, options)
    const as = (bytes: Buffer): string | Buffer => (encoding === 'buffer' ? bytes : bytes.toString('utf8'))
    const result = {
      exitCode: status.exitCode,
      signal: status.signal,
      stdout: as(stdout),
      stderr: as(stderr),
    }
    if (status.timedOut) {
      throw new DeltaBoxError(
        'timeout',
        `The command ran longer than ${options.timeoutMs} ms and was killed`,
        { details: { stdout: result.stdout, stderr: result.stderr } },
      )
    }
    return result
  }

  /** Not cut short by the signal once it is sent: a command that started must be known, to be ended. */
  async #start(command: string | readonly string[], options: StartOptions): Promise<ProcessInfo> {
    const { signal, ...rest } = options
    throwIfAborted(signal)
    const info = await this.#client.json<ProcessInfo>({
      method: 'POST',
      path: this.#path,
      json: { command, ...rest },
    })
    if (!signal?.aborted) return info
    await this.#handle(info, { attach: false, follow: false }).kill()
    throw abortedError(signal)
  }

  #handle(info: ProcessInfo, query: OutputQuery): CommandHandle {
    return new CommandHandle(this.#client, this.#sandbox, info, query)
  }
}
