import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { DeltaBoxError } from '@deltabox/protocol/errors'
import { type CallOptions, cancellable } from './cancel.js'
import type { CommandHandle, ExitStatus } from './command-handle.js'

export interface CollectOptions extends CallOptions {
  /** What the command reads; without it standard input is empty. */
  readonly stdin?: string | Uint8Array | Readable
  readonly onStdout?: (chunk: Buffer) => void
  readonly onStderr?: (chunk: Buffer) => void
  /** Most bytes collected of each stream. Default: 64 MiB; more is an error and ends the command. */
  readonly maxOutputBytes?: number
}

interface Collected {
  readonly status: ExitStatus
  readonly stdout: Buffer
  readonly stderr: Buffer
}

const MAX_OUTPUT_BYTES = 64 * 1024 * 1024

/** Takes a command's output to its end. When that fails or is cancelled, the command is killed before it is told. */
export async function collect(handle: CommandHandle, options: CollectOptions): Promise<Collected> {
  const limit = options.maxOutputBytes ?? MAX_OUTPUT_BYTES
  const work = Promise.all([
    drain(handle.stdout, 'stdout', limit, options.onStdout),
    drain(handle.stderr, 'stderr', limit, options.onStderr),
    feed(handle, options.stdin),
    handle.wait(),
  ])
  try {
    const [stdout, stderr, , status] = await cancellable(work, options.signal)
    return { status, stdout, stderr }
  } catch (error) {
    await end(handle)
    throw error
  }
}

/** A command that cannot be found any more has nothing left to kill. */
async function end(handle: CommandHandle): Promise<void> {
  handle.disconnect()
  try {
    await handle.kill()
  } catch (error) {
    const gone = ['sandbox_not_found', 'process_not_found', 'sandbox_dead', 'daemon_unreachable']
    if (!(error instanceof DeltaBoxError && gone.includes(error.code))) throw error
  }
}

async function drain(
  stream: Readable,
  name: string,
  limit: number,
  tap: ((chunk: Buffer) => void) | undefined,
): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > limit) {
      throw new DeltaBoxError(
        'invalid_request',
        `The command printed more than ${limit} bytes on ${name}: read it as a stream (commands.start) or raise maxOutputBytes`,
        { details: { [name]: Buffer.concat(chunks).toString('utf8'), maxOutputBytes: limit } },
      )
    }
    tap?.(chunk)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** A command need not read all it is given, and what gives may never end: neither is an error. */
async function feed(handle: CommandHandle, stdin: CollectOptions['stdin']): Promise<void> {
  if (stdin === undefined) return
  const source =
    stdin instanceof Readable
      ? stdin
      : Readable.from([typeof stdin === 'string' ? Buffer.from(stdin) : stdin], { objectMode: false })
  const over = new AbortController()
  const stop = (): void => over.abort()
  handle.wait().then(stop, stop)
  try {
    await pipeline(source, handle.stdin, { signal: over.signal })
  } catch (error) {
    const refused = error instanceof DeltaBoxError && ['stdin_closed', 'process_ended'].includes(error.code)
    if (!refused && !over.signal.aborted) throw error
  }
}
