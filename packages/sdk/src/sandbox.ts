import { resolve } from 'node:path'
import type {
  AppliedChanges,
  BaseNode,
  Change,
  CheckpointInfo,
  CheckpointList,
  CreatedSandbox,
  FileChange,
  Imported,
  Pruned,
  RemovedSandbox,
  RolledBack,
  SandboxInfo,
  SandboxList,
  SandboxStats,
  Tree,
} from '@deltabox/protocol'
import { DeltaBoxError } from '@deltabox/protocol/errors'
import { abortedError, type CallOptions, throwIfAborted } from './cancel.js'
import { Checkpoint, type CheckpointOptions } from './checkpoint.js'
import { Client } from './client.js'
import { Commands } from './commands.js'
import { compare, idOf, type StateReference } from './compare.js'
import { Files } from './files.js'
import { type ForkOptions, fork } from './fork.js'
import { type PromoteOptions, type Promotion, promote } from './promote.js'
import { type KeepRules, type PruneOptions, prune, setRetention } from './prune.js'
import { dryRun, transaction } from './put-back.js'
import { openShell, type Shell, type ShellOptions } from './shell.js'
import { parseSize } from './size.js'
import { type ImportOptions, type ImportSource, importCheckpoint } from './transfer.js'

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

export interface KillOptions extends CallOptions {
  /** Remove also the checkpoints taken of it that nothing else needs. Default: false. */
  readonly checkpoints?: boolean
}

/** What has come. */
export interface Import extends Omit<Imported, 'checkpoint'> {
  readonly checkpoint: Checkpoint
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

  /** A checkpoint by its id or the unique beginning of one. */
  static async getCheckpoint(id: string, options: ConnectOptions = {}): Promise<Checkpoint> {
    const client = options.client ?? Client.default()
    const path = `/v1/checkpoints/${encodeURIComponent(id)}`
    const info = await client.json<CheckpointInfo>({ method: 'GET', path, signal: options.signal })
    return new Checkpoint(client, info, (made) => new Sandbox(client, made))
  }

  /**
   * A checkpoint that was exported, here or on another host, with all it descends from: `checkpoint.fork()` makes sandboxes of it.
   * Whoever wrote the file decides what runs in them, but what of this host they see is decided here.
   */
  static async import(source: ImportSource, options: ImportOptions & ConnectOptions = {}): Promise<Import> {
    const client = options.client ?? Client.default()
    const { checkpoint, ...rest } = await importCheckpoint(client, source, options)
    return { ...rest, checkpoint: new Checkpoint(client, checkpoint, (made) => new Sandbox(client, made)) }
  }

  /** What is different in the files of one state from another of the same family. */
  static diff(from: StateReference, to: StateReference, options: ConnectOptions = {}): Promise<FileChange[]> {
    return compare(options.client ?? Client.default(), from, to, options)
  }

  /** Every family's checkpoints and sandboxes. */
  static async tree(options: ConnectOptions = {}): Promise<BaseNode[]> {
    const client = options.client ?? Client.default()
    const tree = await client.json<Tree>({ method: 'GET', path: '/v1/tree', signal: options.signal })
    return tree.roots
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

  /**
   * Keeps the state of its files, under a label for people; its processes run on undisturbed. `checkpoint_refused` tells
   * of a process that cannot be carried over.
   */
  async checkpoint(options: string | CheckpointOptions = {}): Promise<Checkpoint> {
    const { signal, ...json } = typeof options === 'string' ? { label: options, signal: undefined } : options
    throwIfAborted(signal)
    // Not cut short by the signal once it is sent: one that was taken must be known, to be deleted.
    const info = await this.#client.json<CheckpointInfo>({
      method: 'POST',
      path: `${this.#path}/checkpoints`,
      json,
    })
    const checkpoint = this.#toCheckpoint(info)
    if (signal?.aborted) {
      await checkpoint.delete()
      throw abortedError(signal)
    }
    this.#info = { ...this.#info, checkpoint: info.id }
    return checkpoint
  }

  /** Those taken of it, oldest first. */
  async checkpoints(options: CallOptions = {}): Promise<Checkpoint[]> {
    const list = await this.#client.json<CheckpointList>({
      method: 'GET',
      path: `${this.#path}/checkpoints`,
      signal: options.signal,
    })
    return list.checkpoints.map((info) => this.#toCheckpoint(info))
  }

  /**
   * Brings its files and processes to the state of a checkpoint of its family: commands that ran then go on from there, what began
   * since ends. When it fails, the sandbox runs on as before.
   */
  async rollback(checkpoint: Checkpoint | string, options: CallOptions = {}): Promise<RolledBack> {
    const done = await this.#client.json<RolledBack>({
      method: 'POST',
      path: `${this.#path}/rollback`,
      json: { checkpoint: idOf(checkpoint) },
      signal: options.signal,
    })
    this.#info = { ...this.#info, checkpoint: done.checkpoint }
    return done
  }

  /** New sandboxes in its state as it is now: all, or an error and none. Default: one. */
  fork(options?: number | (ForkOptions & { readonly partial?: false })): Promise<Sandbox[]>
  /** As many as can be made; an error stands in the place of each other one. */
  fork(options: ForkOptions): Promise<(Sandbox | DeltaBoxError)[]>
  async fork(options: number | ForkOptions = {}): Promise<(Sandbox | DeltaBoxError)[]> {
    const made = await fork(this.#client, this.#path, options)
    return made.map((one) => (one instanceof DeltaBoxError ? one : new Sandbox(this.#client, one)))
  }

  /**
   * Goes on in the state that another sandbox of its family has now, files and processes, under its own id and name. Its
   * own state is given up, as by a rollback. The fork stays, unless `drop` asks for it and its siblings to go.
   */
  async promote(fork: Sandbox | string, options: PromoteOptions = {}): Promise<Promotion> {
    const done = await promote(this.#client, this.#path, idOf(fork), options)
    this.#info = { ...this.#info, checkpoint: done.checkpoint }
    return done
  }

  /**
   * Removes the checkpoints taken of it, or of its family, that no rule keeps and no sandbox stands on. What others need of
   * them stays.
   */
  prune(options: PruneOptions): Promise<Pruned> {
    return prune(this.#client, this.#path, options)
  }

  /** Rules that are applied by themselves from now on to the checkpoints taken of it; null takes them away. */
  async setRetention(rules: KeepRules | null, options: CallOptions = {}): Promise<void> {
    const set = await setRetention(this.#client, this.#path, rules, options)
    const { retention: _before, ...info } = this.#info
    this.#info = { ...info, ...(set && { retention: set }) }
  }

  /** What is different in its files from an earlier state. Default: from the base of its family's first sandbox. */
  diff(from: StateReference = 'base', options: CallOptions = {}): Promise<FileChange[]> {
    return compare(this.#client, from, this, options)
  }

  /** The checkpoints and sandboxes of its family. */
  async tree(options: CallOptions = {}): Promise<BaseNode> {
    const tree = await this.#client.json<Tree>({
      method: 'GET',
      path: '/v1/tree',
      query: { sandbox: this.id },
      signal: options.signal,
    })
    return tree.roots[0] as BaseNode
  }

  /** Runs the function and puts everything back. A signal is looked at before it is called. */
  dryRun<T>(work: () => T | Promise<T>, options: CallOptions = {}): Promise<T> {
    return dryRun(this, work, options)
  }

  /** Runs the function and puts everything back when it throws. A signal is looked at before it is called. */
  transaction<T>(work: () => T | Promise<T>, options: CallOptions = {}): Promise<T> {
    return transaction(this, work, options)
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

  /**
   * Ends every process in it and removes it. Its checkpoints stay and can be forked, unless `checkpoints` asks for those
   * that nothing else needs to go too. Tells how many are left, or null when the sandbox was gone already.
   */
  async kill(options: KillOptions = {}): Promise<RemovedSandbox | null> {
    const { signal, checkpoints } = options
    try {
      const query = { checkpoints }
      return await this.#client.json<RemovedSandbox>({ method: 'DELETE', path: this.#path, query, signal })
    } catch (error) {
      if (error instanceof DeltaBoxError && error.code === 'sandbox_not_found') return null
      throw error
    }
  }

  /** `await using` kills the sandbox at the end of its block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
  }

  #toCheckpoint(info: CheckpointInfo): Checkpoint {
    return new Checkpoint(this.#client, info, (made) => new Sandbox(this.#client, made))
  }
}
