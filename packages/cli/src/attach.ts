import { constants } from 'node:os'
import { pipeline } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { type CommandHandle, type CommandResult, DeltaBoxError, type ExitStatus } from 'deltabox'
import { signals } from './signals.js'
import { takeTerminal } from './terminal.js'

const IMPATIENT_MS = 2000
const PIPE_GRACE_MS = 1000

/** The status a shell would give. */
export function exitStatusOf(status: ExitStatus | CommandResult): number {
  if (status.signal === null) return status.exitCode ?? 0
  return 128 + (constants.signals[status.signal as keyof typeof constants.signals] ?? 0)
}

/**
 * A reader of ours that went away (`| head`) ends us quietly, as it ends other tools. The command gets the signal that a
 * broken pipe would have given it; one that ignores it would write for nobody.
 */
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
    const ended = await Promise.race([handle.wait(), delay(PIPE_GRACE_MS, undefined, { ref: false })])
    if (!ended) await handle.kill()
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
  return signals.handle((signal) => {
    const again = signal === 'SIGINT' && Date.now() - lastInterruptAt < IMPATIENT_MS
    if (signal === 'SIGINT') lastInterruptAt = Date.now()
    handle.kill(again ? 'SIGKILL' : signal).catch(() => {}) // its end is told by wait()
  })
}

function tell(status: ExitStatus): number {
  if (status.timedOut) {
    process.stderr.write('deltabox: The command ran longer than its --timeout and was killed.\n')
  }
  return exitStatusOf(status)
}

/** Connects the command to our own streams until it ends; returns the status to exit with. */
export async function attach(
  handle: CommandHandle,
  options: { readonly stdin: boolean; readonly tty: boolean },
): Promise<number> {
  const terminal = options.tty ? takeTerminal(handle, options.stdin) : undefined
  const releaseSignals = terminal ? () => {} : forwardSignals(handle)
  try {
    const input = options.stdin ? copyIn(handle) : Promise.resolve()
    const done = Promise.all([
      handle.wait(),
      copyOut(handle.stdout, process.stdout, handle),
      copyOut(handle.stderr, process.stderr, handle),
    ])
    // input may go on for ever; only its failure is of interest
    const end = Promise.race([done, input.then(() => done)]).then(([status]) => tell(status))
    return await (terminal ? Promise.race([end, terminal.hungUp]) : end)
  } finally {
    terminal?.release()
    releaseSignals()
    handle.disconnect()
    process.stdin.destroy()
  }
}
