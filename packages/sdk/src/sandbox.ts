import { resolve } from 'node:path'
import type {
  AppliedChanges,
  Change,
  CreatedSandbox,
  SandboxInfo,
  SandboxList,
  SandboxStats,
} from '@deltabox/protocol'
import { DeltaBoxError } from '@deltabox/protocol/errors'
import { abortedError, type CallOptions, throwIfAborted } from './cancel.js'
import { Client } from './client.js'
import { Commands } from './commands.js'
import { Files } from './files.js'
import { openShell, type Shell, type ShellOptions } from './shell.js'
import { parseSize } from './size.js'

export interface CreateOptions {
  readonly name?: string
  /** Host directory with a root file system. Default: the host's own, read-only and with its secrets masked. */
  readonly base?: string
  /** Host directory shown copy-on-write at the same path; changed on the host only by `apply`. */
  readonly workspace?: string
  /** Default: the workspace, else /root. */
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
  /** `2g`, `512m` or bytes. Default: half of the host's memory. */
  readonly memory?: string | number
  /** Default: no limit. */
  readonly cpus?: number
  /** Most processes and threads at once. Default: 2048. */
  readonly pids?: number
  /** `5g` or bytes. Default: 10g. */
  readonly disk?: string | number
  /** `none` has only loopback, `host` is the host's own network. Default: none. */
  readonly net?: 'none' | 'host'
  /** More paths of the base to hide. */
  readonly mask?: readonly string[]
  readonly signal?: AbortSignal
  readonly client?: Client
}

interface ConnectOptions extends CallOptions {
  readonly client?: Client
}

function toRequest(options: CreateOptions): Record<string, unknown> {
  const { memory, disk, workspace, base, signal: _signal, client: _client, ...rest } = options
  return {
    ...rest,
    base: base === undefined ? undefined : resolve(base),
    workspace: workspace === undefined ? undefined : resolve(workspace),
    memoryBytes: memory === undefined ? undefined : parseSize(memory, 'memory'),
    diskBytes: disk === undefined ? undefined : parseSize(disk, 'disk'),
  }
}

/** A sandbox: an isolated copy-on-write machine in which commands run. */
export class Sandbox {
  readonly commands: Commands
  readonly files: Files
  #info: SandboxInfo
  readonly #client: Client

  private constructor(client: Client, info: SandboxInfo) {
    this.#client = client
    this.#info = info
    this.commands = new Commands(client, info.id)
    this.files = new Files(client, info.id)
    // `await using` kills the sandbox at the end of its block, where the runtime has it
    if (Symbol.asyncDispose) {
      Object.defineProperty(this, Symbol.asyncDispose, { value: () => this.kill() })
    }
  }

  static async create(options: CreateOptions = {}): Promise<Sandbox> {
    const client = options.client ?? Client.default()
    throwIfAborted(options.signal)
    // Not cut short by the signal once it is sent: a sandbox that was made must be known, to be removed.
    const info = await client.json<CreatedSandbox>({
      method: 'POST',
      path: '/v1/sandboxes',
      json: toRequest(options),
    })
    const box = new Sandbox(client, info)
    if (!options.signal?.aborted) return box
    await box.kill()
    throw abortedError(options.signal)
  }

  /** By id, name or the unique beginning of an id. */
  static async connect(id: string, options: ConnectOptions = {}): Promise<Sandbox> {
    const client = options.client ?? Client.default()
    const path = `/v1/sandboxes/${encodeURIComponent(id)}`
    return new Sandbox(
      client,
      await client.json<SandboxInfo>({ method: 'GET', path, signal: options.signal }),
    )
  }

  static async list(options: ConnectOptions = {}): Promise<SandboxInfo[]> {
    const client = options.client ?? Client.default()
    const list = await client.json<SandboxList>({
      method: 'GET',
      path: '/v1/sandboxes',
      signal: options.signal,
    })
    return list.sandboxes
  }

  get id(): string {
    return this.#info.id
  }

  get name(): string | null {
    return this.#info.name
  }

  /** As of the last call that told it; of a created sandbox also `createdMs` and `timings`. */
  get info(): SandboxInfo & Partial<Pick<CreatedSandbox, 'createdMs' | 'timings'>> {
    return this.#info
  }

  get #path(): string {
    return `/v1/sandboxes/${encodeURIComponent(this.id)}`
  }

  /** A shell that keeps its directory, variables and functions between calls. */
  shell(options: ShellOptions = {}): Promise<Shell> {
    return openShell(this.commands, options)
  }

  /** Writes the workspace's changes back to the host's directory; refuses when its files changed there meanwhile. */
  async apply(options: { readonly dryRun?: boolean } & CallOptions = {}): Promise<Change[]> {
    const { signal, ...json } = options
    const applied = await this.#client.json<AppliedChanges>({
      method: 'POST',
      path: `${this.#path}/apply`,
      json,
      signal,
    })
    return applied.changes
  }

  async rename(name: string, options: CallOptions = {}): Promise<void> {
    this.#info = await this.#client.json<SandboxInfo>({
      method: 'PATCH',
      path: this.#path,
      json: { name },
      signal: options.signal,
    })
  }

  stats(options: CallOptions = {}): Promise<SandboxStats> {
    return this.#client.json<SandboxStats>({
      method: 'GET',
      path: `${this.#path}/stats`,
      signal: options.signal,
    })
  }

  /** Ends every process in it and removes it. No error when it is gone already. */
  async kill(options: CallOptions = {}): Promise<void> {
    try {
      await this.#client.json({ method: 'DELETE', path: this.#path, signal: options.signal })
    } catch (error) {
      if (!(error instanceof DeltaBoxError && error.code === 'sandbox_not_found')) throw error
    }
  }
}
