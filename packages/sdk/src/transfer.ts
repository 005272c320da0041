/** Checkpoints as files, to another host and from one. */
import { createWriteStream } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Imported } from '@deltabox/protocol'
import { DeltaBoxError } from '@deltabox/protocol/errors'
import { type CallOptions, throwIfAborted } from './cancel.js'
import type { Client } from './client.js'

/** A file by its path, or what it holds. */
export type ImportSource = string | Readable | Uint8Array | AsyncIterable<Uint8Array>

export interface ImportOptions extends CallOptions {
  /** A directory of this host with the file system that the sandboxes stand on. Default: the host's own, where they stand on that. */
  readonly base?: string
  /** The workspace they have, which must be at the same path here. Default: none. */
  readonly workspace?: string
  /** The network they may have. Default: none. */
  readonly net?: 'none' | 'host'
}

/** What arrives whole ends without an error; anything else does not. */
export async function exportCheckpoint(client: Client, id: string, options: CallOptions): Promise<Readable> {
  const response = await client.send({
    method: 'GET',
    path: `/v1/checkpoints/${encodeURIComponent(id)}/export`,
    signal: options.signal,
  })
  return Readable.from(
    (async function* (): AsyncGenerator<Buffer> {
      try {
        yield* response
      } catch (cause) {
        throwIfAborted(options.signal)
        const why = 'the daemon ended it before it was whole; its log says why'
        throw new DeltaBoxError('export_failed', `cannot export ${id}: ${why}`, { cause })
      }
    })(),
    { objectMode: false },
  )
}

/** There under its name only when it is whole. */
export async function exportToFile(content: Readable, file: string): Promise<void> {
  const part = `${file}.part`
  try {
    await pipeline(content, createWriteStream(part, { mode: 0o600 }))
    await rename(part, file)
  } catch (error) {
    await rm(part, { force: true })
    throw error
  }
}

export async function importCheckpoint(
  client: Client,
  source: ImportSource,
  { base, workspace, net, signal }: ImportOptions,
): Promise<Imported> {
  return await client.json<Imported>({
    method: 'POST',
    path: '/v1/checkpoints/import',
    query: { base: base && resolve(base), workspace: workspace && resolve(workspace), net },
    body: await contentOf(source),
    signal,
  })
}

async function contentOf(source: ImportSource): Promise<Readable | Uint8Array> {
  if (typeof source === 'string') return await openSource(source)
  if (source instanceof Uint8Array || source instanceof Readable) return source
  return Readable.from(source, { objectMode: false })
}

/** Opened here, so that a file that is not there is told before anything is sent. */
async function openSource(file: string): Promise<Readable> {
  try {
    return (await open(file)).createReadStream()
  } catch (cause) {
    throw new DeltaBoxError('invalid_request', `cannot read ${file}: ${(cause as Error).message}`, { cause })
  }
}
