import { DeltaBoxError } from '@deltabox/protocol/errors'

const UNITS: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 }

/** Bytes of `2g`, `512m`, `64k` or a plain number; binary units, a trailing `b` or `ib` is allowed. */
export function parseSize(size: string | number, what = 'size'): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(String(size).trim())
  const bytes = match ? Number(match[1]) * (UNITS[(match[2] ?? '').toLowerCase()] ?? Number.NaN) : Number.NaN
  if (!Number.isFinite(bytes) || bytes < 1) {
    throw new DeltaBoxError(
      'invalid_request',
      `${what} takes a size like 512m or 2g, not ${JSON.stringify(size)}`,
    )
  }
  return Math.floor(bytes)
}
