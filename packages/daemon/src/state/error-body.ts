import { DeltaBoxError, type ErrorBody } from '@deltabox/protocol'

const FULL = new Set<unknown>(['ENOSPC', 'EDQUOT', 'SQLITE_FULL'])

/** What is no DeltaBoxError is a fault of ours, unless the disk is at fault. */
export function toDeltaBoxError(error: unknown): DeltaBoxError {
  if (error instanceof DeltaBoxError) return error
  const { message = String(error), code } = (error ?? {}) as { message?: string; code?: unknown }
  return FULL.has(code)
    ? new DeltaBoxError('disk_full', `the data directory's disk is full: ${message}`, { cause: error })
    : new DeltaBoxError('internal', `a fault in the daemon: ${message}`, { cause: error })
}

/** How an error travels. */
export function errorBody(error: unknown): ErrorBody {
  const { code, message, remedy, details } = toDeltaBoxError(error)
  return { error: { code, message, remedy, details: { ...details } } }
}
