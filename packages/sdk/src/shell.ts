import { randomBytes } from 'node:crypto'
import type { Readable } from 'node:stream'
import { DeltaBoxError } from '@deltabox/protocol/errors'
import type { CommandHandle } from './command-handle.js'
import type { Commands } from './commands.js'
import { abortedError } from './transport.js'

export interface ShellResult {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

interface ShellRunOptions {
  /** Milliseconds after which the shell is killed. Default: none. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

/** Quotes so that any shell reads back exactly the text. */
function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

/** One run's share of a stream: the bytes before the mark, and what stands after the mark on its line. */
class Marked {
  #buffer: Buffer = Buffer.alloc(0)
  #waiting:
    | { mark: Buffer; resolve(found: { before: Buffer; status: string }): void; reject(error: Error): void }
    | undefined
  #ended: Error | undefined

  constructor(stream: Readable) {
    stream.on('data', (chunk: Buffer) => {
      this.#buffer = Buffer.concat([this.#buffer, chunk])
      this.#look()
    })
    stream.once('close', () => {
      this.#ended = new DeltaBoxError('process_ended', 'The shell has ended')
      this.#waiting?.reject(this.#ended)
    })
  }

  until(mark: Buffer): Promise<{ before: Buffer; status: string }> {
    return new Promise((resolve, reject) => {
      this.#waiting = { mark, resolve, reject }
      this.#look()
      if (this.#ended) reject(this.#ended)
    })
  }

  /** What came since the last mark. */
  rest(): string {
    return this.#buffer.toString('utf8')
  }

  #look(): void {
    const waiting = this.#waiting
    const at = waiting ? this.#buffer.indexOf(waiting.mark) : -1
    if (!waiting || at < 0) return
    const after = at + waiting.mark.length
    const end = this.#buffer.indexOf(0x0a, after)
    if (end < 0) return
    const found = {
      before: this.#buffer.subarray(0, at),
      status: this.#buffer.subarray(after, end).toString(),
    }
    this.#buffer = this.#buffer.subarray(end + 1)
    this.#waiting = undefined
    waiting.resolve(found)
  }
}

/** A shell kept open in a sandbox: directory, variables and functions stay from one run to the next. */
export class Shell {
  readonly #handle: CommandHandle
  readonly #out: Marked
  readonly #err: Marked
  #queue: Promise<unknown> = Promise.resolve()
  #dead: DeltaBoxError | undefined

  constructor(handle: CommandHandle) {
    this.#handle = handle
    this.#out = new Marked(handle.stdout)
    this.#err = new Marked(handle.stderr)
  }

  get process(): string {
    return this.#handle.process
  }

  /** Runs a script in the shell; runs asked for at the same time follow one another. */
  run(script: string, options: ShellRunOptions = {}): Promise<ShellResult> {
    const result = this.#queue.then(() => this.#run(script, options))
    this.#queue = result.catch(() => {})
    return result
  }

  async close(): Promise<void> {
    this.#dead ??= new DeltaBoxError('process_ended', 'The shell was closed')
    await this.#handle.kill()
    await this.#handle.wait()
  }

  async #run(script: string, options: ShellRunOptions): Promise<ShellResult> {
    if (this.#dead) throw this.#dead
    if (options.signal?.aborted) throw abortedError(options.signal)
    const mark = Buffer.from(randomBytes(16).toString('hex'))
    const stop = this.#limit(options)
    try {
      // eval, so that a syntax error in the script is its status and not the shell's end
      const line = `eval ${quote(script)} </dev/null; printf '${mark}%s\\n' "$?"; printf '${mark}\\n' >&2\n`
      const [out, err] = await Promise.all([
        this.#out.until(mark),
        this.#err.until(mark),
        this.#handle.sendStdin(line),
      ])
      return {
        exitCode: Number(out.status),
        stdout: out.before.toString('utf8'),
        stderr: err.before.toString('utf8'),
      }
    } catch (error) {
      throw await this.#explain(error)
    } finally {
      stop()
    }
  }

  /** A foreground command cannot be told from the shell that waits for it, so the shell goes with it. */
  #limit(options: ShellRunOptions): () => void {
    const end = (error: DeltaBoxError): void => {
      this.#dead ??= error
      this.#handle.kill().catch(() => {}) // the wait for its output tells
    }
    const onAbort = (): void => end(abortedError(options.signal as AbortSignal))
    options.signal?.addEventListener('abort', onAbort, { once: true })
    const timer =
      options.timeoutMs === undefined
        ? undefined
        : setTimeout(
            () =>
              end(
                new DeltaBoxError(
                  'timeout',
                  `The script ran longer than ${options.timeoutMs} ms, so its shell was killed`,
                ),
              ),
            options.timeoutMs,
          )
    return () => {
      clearTimeout(timer)
      options.signal?.removeEventListener('abort', onAbort)
    }
  }

  async #explain(error: unknown): Promise<unknown> {
    if (this.#dead) return this.#dead
    const ended =
      error instanceof DeltaBoxError &&
      ['process_ended', 'stdin_closed', 'process_not_found'].includes(error.code)
    if (!ended) return error
    const status = await this.#handle.wait()
    this.#dead = new DeltaBoxError(
      'process_ended',
      `The shell has ended with ${status.signal ?? `status ${status.exitCode}`}`,
      {
        cause: error,
        details: { ...status, stdout: this.#out.rest(), stderr: this.#err.rest() },
      },
    )
    return this.#dead
  }
}

/** bash where the sandbox has it, else sh. */
export async function openShell(commands: Commands): Promise<Shell> {
  try {
    return new Shell(await commands.start(['bash', '--noprofile', '--norc'], { stdin: true }))
  } catch (error) {
    if (!(error instanceof DeltaBoxError && error.code === 'command_not_found')) throw error
    return new Shell(await commands.start(['sh'], { stdin: true }))
  }
}
