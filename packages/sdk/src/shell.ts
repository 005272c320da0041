import { randomBytes } from 'node:crypto'
import { constants } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { DeltaBoxError } from '@deltabox/protocol/errors'
import { abortedError, type CallOptions, cancellable, throwIfAborted } from './cancel.js'
import type { CommandHandle, ExitStatus } from './command-handle.js'
import type { Commands, StartOptions } from './commands.js'
import { MarkedStream, MarkMissing } from './marked-stream.js'
import { BASH, type Dialect, endLine, SH, scriptLine } from './shell-text.js'

export interface ShellResult {
  /** 128 + signal when a signal ended it. */
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

export type ShellOptions = Pick<StartOptions, 'cwd' | 'env' | 'user' | 'signal'>

export interface ShellRunOptions extends CallOptions {
  /** Milliseconds after which the script is interrupted. Default: none. */
  readonly timeoutMs?: number
  /** Most bytes collected of each stream. Default: 64 MiB; more is an error and interrupts the script. */
  readonly maxOutputBytes?: number
}

const MAX_OUTPUT_BYTES = 64 * 1024 * 1024
/** How long an interrupted script may take to give the shell back. */
const INTERRUPT_MS = 2000
const CLOSE_MS = 1000

interface Output {
  readonly exitCode: number
  readonly stdout: Buffer
  readonly stderr: Buffer
}

function exitCodeOf(status: ExitStatus): number {
  if (status.signal === null) return status.exitCode ?? 0
  return 128 + (constants.signals[status.signal as NodeJS.Signals] ?? 0)
}

function newMark(): string {
  return randomBytes(16).toString('hex')
}

/**
 * A shell kept open in a sandbox: directory, variables and functions stay from one run to the next. It is an
 * interactive one: it tells of background jobs on standard error, and what they print comes with the next run.
 */
export class Shell {
  readonly #handle: CommandHandle
  readonly #dialect: Dialect
  readonly #out: MarkedStream
  readonly #err: MarkedStream
  #queue: Promise<unknown> = Promise.resolve()
  #dead: DeltaBoxError | undefined

  constructor(handle: CommandHandle, dialect: Dialect) {
    this.#handle = handle
    this.#dialect = dialect
    this.#out = new MarkedStream(handle.stdout)
    this.#err = new MarkedStream(handle.stderr)
  }

  get process(): string {
    return this.#handle.process
  }

  /**
   * Runs a script in the shell; runs asked for at the same time follow one another. A time limit or a cancelled signal
   * interrupts it, and the shell goes on; a script that takes no interrupt is killed with its shell. `exit` ends the
   * shell: the next run is an error.
   */
  run(script: string, options: ShellRunOptions = {}): Promise<ShellResult> {
    const turn = this.#queue
    const result = cancellable(turn, options.signal).then(() => this.#run(script, options))
    this.#queue = Promise.allSettled([turn, result])
    return result
  }

  /** Ends the shell; what it left running in the background goes on. */
  async close(): Promise<void> {
    this.#dead ??= new DeltaBoxError('process_ended', 'The shell was closed')
    const ended = this.#handle.wait()
    // A signal would reach its background commands too.
    await this.#handle.closeStdin().catch((error) => {
      if (!isEnd(error)) throw error
    })
    if ((await Promise.race([ended, delay(CLOSE_MS)])) === undefined) await this.#handle.kill()
    await ended
  }

  /** Leaves behind what the shell said while it started. */
  async setUp(): Promise<void> {
    const end = newMark()
    await this.#handle.sendStdin(`${this.#dialect.setUp}\n${endLine(this.#dialect, end)}`)
    await this.#untilBoth(end, MAX_OUTPUT_BYTES, () => {})
  }

  async #run(script: string, options: ShellRunOptions): Promise<ShellResult> {
    if (this.#dead) throw this.#dead
    throwIfAborted(options.signal)
    const tooMuch = new AbortController()
    const limit = options.maxOutputBytes ?? MAX_OUTPUT_BYTES
    const stop = AbortSignal.any([
      tooMuch.signal,
      ...(options.signal ? [options.signal] : []),
      ...(options.timeoutMs === undefined ? [] : [AbortSignal.timeout(options.timeoutMs)]),
    ])
    const work = this.#evaluate(script, limit, () => tooMuch.abort())
    try {
      return textOf(await cancellable(work, stop))
    } catch (error) {
      // What the daemon refused needs no interrupt: nothing runs.
      if (!stop.aborted) throw error
    }
    const printed = await this.#interrupt(work)
    if (options.signal?.aborted) throw abortedError(options.signal)
    const shellEnded = this.#dead !== undefined
    if (tooMuch.signal.aborted) throw tooMuchError(limit, shellEnded)
    throw timeoutError(options.timeoutMs, printed, shellEnded)
  }

  async #evaluate(script: string, limit: number, onTooMuch: () => void): Promise<Output> {
    const [begun, done, end] = [newMark(), newMark(), newMark()]
    const line = scriptLine(this.#dialect, script, begun, done)
    const first = this.#out.until(begun, limit, onTooMuch)
    first.catch(() => {}) // awaited below, unless the shell takes no more input
    try {
      await this.#handle.sendStdin(line)
      const earlier = await first
      const ends = this.#untilBoth(end, limit, onTooMuch)
      ends.catch(() => {})
      await this.#handle.sendStdin(endLine(this.#dialect, end))
      const [out, err] = await ends
      return cut(Buffer.concat([earlier.before, out.before]), done, Number(out.tail), err.before)
    } catch (error) {
      if (!isEnd(error)) throw error
      const last = await this.#lastWords(script)
      const began = await first.then(
        () => true,
        () => false,
      )
      // It had ended before it was given the script, as by a rollback.
      if (!began) throw this.#dead
      return last
    }
  }

  #untilBoth(mark: string, limit: number, onTooMuch: () => void): Promise<[Found, Found]> {
    return Promise.all([this.#out.until(mark, limit, onTooMuch), this.#err.until(mark, limit, onTooMuch)])
  }

  /** The script ended the shell: what it printed is its result, and the shell's status. */
  async #lastWords(script: string): Promise<Output> {
    const status = await this.#handle.wait()
    const how = status.signal ?? `status ${status.exitCode}`
    this.#dead ??= new DeltaBoxError('process_ended', `The shell has ended with ${how}`, {
      details: { ...status, script },
    })
    return { exitCode: exitCodeOf(status), stdout: this.#out.rest(), stderr: this.#err.rest() }
  }

  /** Ends the foreground commands, or the shell with them where they take no interrupt; gives what was printed. */
  async #interrupt(work: Promise<Output>): Promise<Output> {
    await this.#handle.kill('SIGINT')
    const settled = work.catch(
      (): Output => ({ exitCode: 130, stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) }),
    )
    const printed = await Promise.race([settled, delay(INTERRUPT_MS)])
    if (printed) return printed
    await this.#handle.kill()
    return settled
  }
}

type Found = Awaited<ReturnType<MarkedStream['until']>>

/** Up to the mark that tells the script's own status; without it the script was given up half-way. */
function cut(stdout: Buffer, done: string, otherwise: number, stderr: Buffer): Output {
  const at = stdout.lastIndexOf(done)
  if (at < 0) return { exitCode: otherwise, stdout, stderr }
  const end = stdout.indexOf('\n', at)
  const exitCode = Number(stdout.subarray(at + done.length, end).toString())
  return { exitCode, stdout: Buffer.concat([stdout.subarray(0, at), stdout.subarray(end + 1)]), stderr }
}

function textOf({ exitCode, stdout, stderr }: Output): ShellResult {
  return { exitCode, stdout: stdout.toString('utf8'), stderr: stderr.toString('utf8') }
}

function isEnd(error: unknown): boolean {
  if (error instanceof MarkMissing) return true
  return error instanceof DeltaBoxError && ['stdin_closed', 'process_ended'].includes(error.code)
}

function timeoutError(timeoutMs: number | undefined, printed: Output, shellEnded: boolean): DeltaBoxError {
  const { stdout, stderr } = textOf(printed)
  return new DeltaBoxError(
    'timeout',
    `The script ran longer than ${timeoutMs} ms and was ${fate(shellEnded)}`,
    { details: { stdout, stderr, shellEnded } },
  )
}

function tooMuchError(limit: number, shellEnded: boolean): DeltaBoxError {
  return new DeltaBoxError(
    'invalid_request',
    `The script printed more than ${limit} bytes and was ${fate(shellEnded)}: send its output to a file or raise maxOutputBytes`,
    { details: { maxOutputBytes: limit, shellEnded } },
  )
}

function fate(shellEnded: boolean): string {
  return shellEnded ? 'killed with its shell' : 'interrupted; the shell goes on'
}

/** bash where the sandbox has it, else sh. */
export async function openShell(commands: Commands, options: ShellOptions): Promise<Shell> {
  const shell = await start(commands, options)
  await shell.setUp()
  return shell
}

async function start(commands: Commands, options: ShellOptions): Promise<Shell> {
  try {
    return new Shell(await commands.start(BASH.argv, { ...options, stdin: true }), BASH)
  } catch (error) {
    if (!(error instanceof DeltaBoxError && error.code === 'command_not_found')) throw error
    return new Shell(await commands.start(SH.argv, { ...options, stdin: true }), SH)
  }
}
