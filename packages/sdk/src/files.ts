import { Readable } from 'node:stream'
import type { FileEntry, FileList, FileStat } from '@deltabox/protocol'
import { DeltaBoxError } from '@deltabox/protocol/errors'
import type { Client } from './client.js'

export type WriteData = string | Uint8Array | Readable | AsyncIterable<Uint8Array>

export interface WriteOptions {
  /** Permission bits set on the file. Default: 0644 for a new file, unchanged for an old one. */
  readonly mode?: number
  /** Adds to the end instead of replacing. Default: false. */
  readonly append?: boolean
  readonly signal?: AbortSignal
}

interface SignalOption {
  readonly signal?: AbortSignal
}

/** Files of one sandbox. Relative paths start at its working directory; no path leads out of it. */
export class Files {
  readonly #client: Client
  readonly #path: string

  constructor(client: Client, sandbox: string) {
    this.#client = client
    this.#path = `/v1/sandboxes/${encodeURIComponent(sandbox)}/files`
  }

  read(path: string, options?: SignalOption & { format?: 'text' }): Promise<string>
  read(path: string, options: SignalOption & { format: 'bytes' }): Promise<Buffer>
  read(path: string, options: SignalOption & { format: 'stream' }): Promise<Readable>
  async read(
    path: string,
    options: SignalOption & { format?: 'text' | 'bytes' | 'stream' } = {},
  ): Promise<string | Buffer | Readable> {
    const call = { method: 'GET', path: `${this.#path}/content`, query: { path }, signal: options.signal }
    if (options.format === 'stream') return this.#client.send(call)
    const bytes = await this.#client.bytes(call)
    return options.format === 'bytes' ? bytes : bytes.toString('utf8')
  }

  /** Replaces the file's content, making missing parent directories. */
  async write(path: string, data: WriteData, options: WriteOptions = {}): Promise<void> {
    const { mode, append, signal } = options
    await this.#client.json({
      method: 'PUT',
      path: `${this.#path}/content`,
      query: { path, mode, append },
      body: toBody(data),
      signal,
    })
  }

  async list(path: string, options: SignalOption = {}): Promise<FileEntry[]> {
    const list = await this.#client.json<FileList>({
      method: 'GET',
      path: `${this.#path}/list`,
      query: { path },
      ...options,
    })
    return list.entries
  }

  /** Of a link itself unless `follow` is set. */
  stat(path: string, options: SignalOption & { follow?: boolean } = {}): Promise<FileStat> {
    const { follow, signal } = options
    return this.#client.json<FileStat>({
      method: 'GET',
      path: `${this.#path}/stat`,
      query: { path, follow },
      signal,
    })
  }

  async exists(path: string, options: SignalOption = {}): Promise<boolean> {
    try {
      await this.stat(path, options)
      return true
    } catch (error) {
      if (
        error instanceof DeltaBoxError &&
        (error.code === 'file_not_found' || error.code === 'not_directory')
      )
        return false
      throw error
    }
  }

  async remove(path: string, options: SignalOption & { recursive?: boolean } = {}): Promise<void> {
    const { recursive, signal } = options
    await this.#client.json({ method: 'DELETE', path: this.#path, query: { path, recursive }, signal })
  }

  /** Makes missing parents too; no error when the directory exists (`parents: false` changes both). */
  async mkdir(
    path: string,
    options: SignalOption & { parents?: boolean; mode?: number } = {},
  ): Promise<void> {
    const { signal, ...rest } = options
    await this.#client.json({ method: 'POST', path: `${this.#path}/mkdir`, json: { path, ...rest }, signal })
  }

  async rename(from: string, to: string, options: SignalOption = {}): Promise<void> {
    await this.#client.json({ method: 'POST', path: `${this.#path}/rename`, json: { from, to }, ...options })
  }

  async symlink(path: string, target: string, options: SignalOption = {}): Promise<void> {
    await this.#client.json({
      method: 'POST',
      path: `${this.#path}/symlink`,
      json: { path, target },
      ...options,
    })
  }
}

function toBody(data: WriteData): Readable | Uint8Array {
  if (typeof data === 'string') return Buffer.from(data)
  if (data instanceof Uint8Array || data instanceof Readable) return data
  return Readable.from(data, { objectMode: false })
}
