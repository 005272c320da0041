/** The daemon or an engine is gone for a while: nothing that was done in a sandbox is to blame. */
import { setTimeout as delay } from 'node:timers/promises'
import { DeltaBoxError } from 'deltabox'

const CODES = new Set(['daemon_unreachable', 'engine_lost'])
const TRIES = 60
const PAUSE_MS = 500

export function isInterruption(error: unknown): error is Error {
  if (!(error instanceof DeltaBoxError)) return error instanceof Error && isInterruption(error.cause)
  // A fork that failed tells why.
  return CODES.has(error.code) || CODES.has(String(error.details.code))
}

/** Tried again for half a minute. Once aborted it throws the signal's reason. */
export async function throughInterruptions<T>(
  attempt: () => Promise<T>,
  signal: AbortSignal,
  tell: (reason: string) => void = () => undefined,
): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await attempt()
    } catch (error) {
      signal.throwIfAborted()
      if (!isInterruption(error) || tries === TRIES) throw error
      tell(error.message)
      await delay(PAUSE_MS, undefined, { signal }).catch(() => signal.throwIfAborted())
    }
  }
}
