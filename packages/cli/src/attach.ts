import { constants } from 'node:os'
import { pipeline } from 'node:stream/promises'
import { type CommandHandle, DeltaBoxError, type ExitStatus } from 'deltabox'

const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const
const IMPATIENT_MS = 2000

/** The status a shell would give. */
export function exitStatusOf(status: ExitStatus): number {
  if (status.signal === null) return status.exitCode ?? 0
  return 128 + (constants.signals[status.signal as keyof typeof constants.signals] ?? 0)
}

/** A reader of ours that went away (`| head`) ends us quietly, as it ends other tools. */
async function copyOut(
  from: NodeJS.ReadableStream,
  to: NodeJS.WriteStream,
  handle: CommandHandle,
): Promise<void> {
  try {
    await pipeline(from, to, { end: false })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error
    await handle.kill('SIGPIPE')
  }
}

/** A command need not read all it is given. */
async function copyIn(handle: CommandHandle): Promise<void> {
  try {
    await pipeline(process.stdin, handle.stdin)
  } catch (error) {
    const over = error instanceof DeltaBoxError && ['stdin_closed', 'process_ended'].includes(error.code)
    const stopped = (error as NodeJS.ErrnoException).code === 'ERR_STREAM_PREMATURE_CLOSE'
    if (!over && !stopped) throw error
  }
}

/** Signals to us go to the command; a second interrupt soon after the first ends it for good. */
function forwardSignals(handle: CommandHandle): () => void {
  let lastInterruptAt = 0
  const forward = (signal: NodeJS.Signals): void => {
    const again = signal === 'SIGINT' && Date.now() - lastInterruptAt < IMPATIENT_MS
    if (signal === 'SIGINT') lastInterruptAt = Date.now()
    handle.kill(again ? 'SIGKILL' : signal).catch(() => {}) // its end is told by wait()
  }
  for (const signal of FORWARDED) process.on(signal, forward)
  return () => {
    for (const signal of FORWARDED) process.off(signal, forward)
  }
}

/** The terminal passes every key on; the returned function puts it back, on every way out. */
function takeTerminal(handle: CommandHandle): () => void {
  const resize = (): void => {
    handle.resize(terminalSize()).catch(() => {}) // it has ended
  }
  const restore = (): void => {
    if (process.stdin.isTTY) process.stdin.setRawMode(false)
  }
  if (process.stdin.isTTY) process.stdin.setRawMode(true)
  process.stdout.on('resize', resize)
  process.once('exit', restore)
  return () => {
    restore()
    process.stdout.off('resize', resize)
    process.off('exit', restore)
  }
}

export function terminalSize(): { cols: number; rows: number } {
  return { cols: process.stdout.columns || 80, rows: process.stdout.rows || 24 }
}

/** Connects the command to our own streams until it ends; returns the status to exit with. */
export async function attach(
  handle: CommandHandle,
  options: { readonly stdin: boolean; readonly tty: boolean },
): Promise<number> {
  const releaseSignals = forwardSignals(handle)
  const releaseTerminal = options.tty ? takeTerminal(handle) : () => {}
  try {
    const input = options.stdin ? copyIn(handle) : Promise.resolve()
    const done = Promise.all([
      handle.wait(),
      copyOut(handle.stdout, process.stdout, handle),
      copyOut(handle.stderr, process.stderr, handle),
    ])
    // input may go on for ever; only its failure is of interest
    const [status] = await Promise.race([done, input.then(() => done)])
    return exitStatusOf(status)
  } finally {
    releaseTerminal()
    releaseSignals()
    process.stdin.destroy()
  }
}
