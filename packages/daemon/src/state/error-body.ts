import { DeltaBoxError, type ErrorBody } from '@deltabox/protocol'

/** How an error travels. What is no DeltaBoxError is a fault of ours. */
export function errorBody(error: unknown): ErrorBody {
  const known =
    error instanceof DeltaBoxError
      ? error
      : new DeltaBoxError('internal', `a fault in the daemon: ${(error as Error)?.message ?? String(error)}`)
  const { code, message, remedy, details } = known
  return { error: { code, message, remedy, details: { ...details } } }
}
