/** States as streams of bytes, to another host and from one: each packed and unpacked by a program of its own. */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { getSystemErrorName } from 'node:util'

/** More of it than an error has is not read. */
const COMPLAINT_MAX_BYTES = 16 * 1024

/** What the program said went wrong. */
export class TransferError extends Error {
  override readonly name = 'TransferError'
  /** An engine's, or the name of the system's. */
  readonly code: string

  constructor({ code, errno, message, object }: Complaint) {
    super(object ? `${message} (${object})` : message)
    this.code = errno === 0 ? code : getSystemErrorName(-errno)
  }
}

interface Complaint {
  readonly code: string
  readonly errno: number
  readonly message: string
  readonly object: string
}

interface Program {
  readonly enginePath: string
  readonly directory: string
  /** The first of the host ids of its family. */
  readonly uidBase: number
}

export interface Packing extends Program {
  readonly images: readonly string[]
  readonly layers: readonly string[]
  /** Told of all to whoever unpacks it, before anything else. */
  readonly tell: string
}

type Child = ChildProcessByStdio<Writable, Readable, Readable>

/** The program lives as long as somebody reads. */
export function packState({ images, layers, tell, ...program }: Packing): Readable {
  const child = start(program, ['--pack', program.directory])
  const plan = [...images.map((id) => `image ${id}\n`), ...layers.map((id) => `layer ${id}\n`), '\n', tell]
  const told = pipeline(Readable.from(plan), child.stdin)
  told.catch(() => undefined)
  return Readable.from(
    (async function* (): AsyncGenerator<Buffer> {
      try {
        yield* child.stdout
        await child.done
      } finally {
        child.kill()
      }
    })(),
    { objectMode: false },
  )
}

/**
 * To an empty directory, under the names that are in the stream. `look` gets what is told of it before all of it has come; where it
 * throws, the rest is not unpacked. Once this returns or throws nothing is written to the directory any more.
 */
export async function unpackState(
  program: Program,
  body: Readable,
  look: (told: string) => Promise<void>,
): Promise<void> {
  const child = start(program, ['--unpack', program.directory])
  const sent = feed(body, child)
  try {
    const told = Buffer.concat(await child.stdout.toArray()).toString('utf8')
    if (told !== '') await look(told)
    await child.done
  } catch (error) {
    child.kill()
    await child.done.catch(() => undefined)
    throw body.errored ?? error
  } finally {
    sent.abort()
  }
}

/** The rest of a body that the program does not want is read nevertheless: whoever sends it gets the answer then. */
function feed(body: Readable, child: Running): AbortController {
  const over = new AbortController()
  const drain = (): void => {
    body.unpipe(child.stdin)
    body.resume()
  }
  const give = (): void => child.kill()
  child.stdin.on('error', drain)
  over.signal.addEventListener('abort', drain)
  body.once('error', give)
  body.once('close', () => body.readableEnded || give())
  if (body.destroyed && !body.readableEnded) give()
  else body.pipe(child.stdin)
  return over
}

/** Images in a directory get other names: pairs of old and new, what others stand on first. */
export async function renameImages(
  enginePath: string,
  directory: string,
  names: readonly (readonly [string, string])[],
): Promise<void> {
  if (names.length === 0) return
  const child = start({ enginePath, uidBase: 0 }, ['--rename-images', directory, ...names.flat()])
  child.stdin.end()
  child.stdout.resume()
  await child.done
}

interface Running {
  readonly stdin: Writable
  readonly stdout: Readable
  /** Once it has ended; it throws what the program complained of. */
  readonly done: Promise<void>
  kill(): void
}

function start({ enginePath, uidBase }: Pick<Program, 'enginePath' | 'uidBase'>, what: string[]): Running {
  const child: Child = spawn(enginePath, ['--uid-base', String(uidBase), ...what], {
    stdio: ['pipe', 'pipe', 'pipe'],
    // The environment may hold the daemon's token.
    env: { PATH: process.env.PATH },
  })
  const done = ended(child)
  done.catch(() => undefined)
  return { stdin: child.stdin, stdout: child.stdout, done, kill: () => child.kill('SIGKILL') }
}

async function ended(child: Child): Promise<void> {
  let complaint = ''
  child.stderr.setEncoding('utf8')
  child.stderr.on('data', (text: string) => {
    if (complaint.length < COMPLAINT_MAX_BYTES) complaint += text
  })
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
  if (code === 0) return
  throw understood(complaint) ?? new Error(complaint.trim() || `the program ended by ${signal ?? code}`)
}

function understood(complaint: string): TransferError | undefined {
  const last = complaint.trim().split('\n').at(-1) ?? ''
  try {
    return new TransferError(JSON.parse(last) as Complaint)
  } catch {
    return undefined
  }
}
