import type { Readable } from 'node:stream'
import type { CheckpointInfo, FileChange, Prefetched, SandboxInfo } from '@deltabox/protocol'
import { DeltaBoxError } from '@deltabox/protocol/errors'
import type { CallOptions } from './cancel.js'
import type { Client } from './client.js'
import { compare, type StateReference } from './compare.js'
import { type ForkOptions, fork } from './fork.js'
import type { Sandbox } from './sandbox.js'
import { exportCheckpoint, exportToFile } from './transfer.js'

export interface CheckpointOptions extends CallOptions {
  /** Shown in lists and trees. */
  readonly label?: string
  /** Let the images of processes reach the disk; files always do. Default: true. */
  readonly disk?: boolean
}

/** A point in a sandbox's history. It outlives the sandbox. */
export class Checkpoint implements CheckpointInfo {
  declare readonly id: string
  /** The id of the sandbox it was taken of. */
  declare readonly sandbox: string
  /** The checkpoint the sandbox stood on; null where that was the base. */
  declare readonly parent: string | null
  declare readonly createdAt: string
  /** Nothing was written since the parent. */
  declare readonly unchanged: boolean
  /** How long the sandbox's processes stood still. */
  declare readonly blockingMs: number
  /** How many processes ran; they are part of the state. */
  declare readonly processes: number
  /** How many of them are lost with the engine that held them: then a rollback or fork has the files alone. */
  declare readonly lost: number
  /** As it was told last; `Sandbox.getCheckpoint` asks again. */
  declare readonly state: CheckpointInfo['state']
  /** Why it failed, or is not on disk yet. */
  declare readonly reason?: string
  /** Its processes are in memory: a rollback need not read them from disk. */
  declare readonly inMemory: boolean
  /** Bytes on disk of what its processes had changed; null while they are not there. */
  declare readonly imageBytes: number | null
  /** How many open files were moved. */
  declare readonly files: number
  /** Bytes of their memory that were copied. */
  declare readonly memoryBytes: number
  /** Of the layer that holds what was written since the parent; null until it is measured, a moment later. */
  declare readonly fileBytes: number | null
  declare readonly depth: number
  /** Milliseconds per step, of one that was just taken. */
  declare readonly timings?: Record<string, number>
  /** Changed by `relabel`. */
  declare label: string | null
  readonly #client: Client
  readonly #toSandbox: (info: SandboxInfo) => Sandbox

  constructor(client: Client, info: CheckpointInfo, toSandbox: (info: SandboxInfo) => Sandbox) {
    Object.assign(this, info)
    this.#client = client
    this.#toSandbox = toSandbox
  }

  /** Of the daemon that has it. */
  get client(): Client {
    return this.#client
  }

  get #path(): string {
    return `/v1/checkpoints/${encodeURIComponent(this.id)}`
  }

  /** New sandboxes in this state: all, or an error and none. Default: one. */
  fork(options?: number | (ForkOptions & { readonly partial?: false })): Promise<Sandbox[]>
  /** As many as can be made; an error stands in the place of each other one. */
  fork(options: ForkOptions): Promise<(Sandbox | DeltaBoxError)[]>
  async fork(options: number | ForkOptions = {}): Promise<(Sandbox | DeltaBoxError)[]> {
    const made = await fork(this.#client, this.#path, options)
    return made.map((one) => (one instanceof DeltaBoxError ? one : this.#toSandbox(one)))
  }

  /** What is different here from an earlier state. Default: from the base of its first sandbox. */
  diff(from: StateReference = 'base', options: CallOptions = {}): Promise<FileChange[]> {
    return compare(this.#client, from, this, options)
  }

  /** Brings its processes into memory, for a rollback or fork that will come soon: no error when there are none. */
  async prefetch(options: CallOptions = {}): Promise<Prefetched> {
    return await this.#client.json<Prefetched>({
      method: 'POST',
      path: `${this.#path}/prefetch`,
      signal: options.signal,
    })
  }

  /** This state and all it descends from, files and processes, for `Sandbox.import`. It holds whatever the sandbox held, secrets too. */
  export(options: CallOptions = {}): Promise<Readable> {
    return exportCheckpoint(this.#client, this.id, options)
  }

  /** In a file, which is there only when it is whole. */
  async exportTo(file: string, options: CallOptions = {}): Promise<void> {
    await exportToFile(await this.export(options), file)
  }

  /** null takes the label away. */
  async relabel(label: string | null, options: CallOptions = {}): Promise<void> {
    const info = await this.#client.json<CheckpointInfo>({
      method: 'PATCH',
      path: this.#path,
      json: { label },
      signal: options.signal,
    })
    this.label = info.label
  }

  /** Sandboxes and checkpoints that came from it stay as they are. No error when it is gone already. */
  async delete(options: CallOptions = {}): Promise<void> {
    try {
      await this.#client.json({ method: 'DELETE', path: this.#path, signal: options.signal })
    } catch (error) {
      if (!(error instanceof DeltaBoxError && error.code === 'checkpoint_not_found')) throw error
    }
  }
}
