/** A step that takes too long has failed, whether or not it listens to its signal. */

export class StepTimeoutError extends Error {
  override readonly name = 'StepTimeoutError'
}

export async function within<T>(
  what: string,
  limitMs: number | undefined,
  outer: AbortSignal,
  step: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const inner = new AbortController()
  const stop = (): void => inner.abort(outer.reason)
  if (outer.aborted) stop()
  outer.addEventListener('abort', stop, { once: true })
  const timer =
    limitMs === undefined
      ? undefined
      : setTimeout(() => inner.abort(new StepTimeoutError(`${what} took longer than ${limitMs} ms`)), limitMs)
  const ended = new Promise<never>((_resolve, reject) => {
    inner.signal.addEventListener('abort', () => reject(inner.signal.reason), { once: true })
  })
  try {
    inner.signal.throwIfAborted()
    return await Promise.race([step(inner.signal), ended])
  } finally {
    clearTimeout(timer)
    outer.removeEventListener('abort', stop)
  }
}
