import type { ErrorBody, Forked, SandboxInfo } from '@deltabox/protocol'
import type { DeltaBoxError } from '@deltabox/protocol/errors'
import { abortedError, type CallOptions, throwIfAborted } from './cancel.js'
import type { Client } from './client.js'
import { errorFromBody } from './transport.js'

export interface ForkOptions extends CallOptions {
  /** How many sandboxes. Default: 1. */
  readonly count?: number
  /** They are called `NAME-1` and so on. Default: no names. */
  readonly name?: string
  /** Keep those that could be made when others could not. Default: false. */
  readonly partial?: boolean
}

function isError(made: SandboxInfo | ErrorBody): made is ErrorBody {
  return 'error' in made
}

/** Not cut short by the signal once it is sent: sandboxes that were made must be known, to be removed. */
export async function fork(
  client: Client,
  path: string,
  options: number | ForkOptions,
): Promise<(SandboxInfo | DeltaBoxError)[]> {
  const { signal, ...json } = typeof options === 'number' ? { count: options, signal: undefined } : options
  throwIfAborted(signal)
  const { sandboxes } = await client.json<Forked>({ method: 'POST', path: `${path}/fork`, json })
  if (!signal?.aborted) return sandboxes.map((made) => (isError(made) ? errorFromBody(made) : made))
  const ids = sandboxes.flatMap((made) => (isError(made) ? [] : [made.id]))
  await Promise.all(ids.map((id) => client.json({ method: 'DELETE', path: `/v1/sandboxes/${id}` })))
  throw abortedError(signal)
}
