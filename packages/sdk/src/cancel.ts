import { DeltaBoxError } from '@deltabox/protocol/errors'

export interface CallOptions {
  /** Cancels the call, which then rejects with `aborted` and the signal's reason as the cause. */
  readonly signal?: AbortSignal | undefined
}

export function abortedError(signal: AbortSignal): DeltaBoxError {
  return new DeltaBoxError('aborted', 'The operation was cancelled', { cause: signal.reason })
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortedError(signal)
}

/** Resolves or rejects as the work does, or rejects as soon as the signal tells; the work itself goes on. */
export async function cancellable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work
  throwIfAborted(signal)
  let stop = (): void => {}
  const cancelled = new Promise<never>((_, reject) => {
    stop = () => reject(abortedError(signal))
    signal.addEventListener('abort', stop, { once: true })
  })
  try {
    return await Promise.race([work, cancelled])
  } finally {
    signal.removeEventListener('abort', stop)
  }
}
