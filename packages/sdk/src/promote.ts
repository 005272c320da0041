import type { Promoted } from '@deltabox/protocol'
import type { DeltaBoxError } from '@deltabox/protocol/errors'
import type { CallOptions } from './cancel.js'
import type { Client } from './client.js'
import { errorFromBody } from './transport.js'

export interface PromoteOptions extends CallOptions {
  /**
   * Then remove the fork and its siblings: what was forked of the same sandbox at the same checkpoint. Their checkpoints
   * are kept. Default: false.
   */
  readonly drop?: boolean
}

export interface Promotion extends Omit<Promoted, 'notDropped'> {
  /** Why others could not be removed; `details.sandbox` tells which. Absent where all were. */
  readonly notDropped?: DeltaBoxError[]
}

export async function promote(
  client: Client,
  path: string,
  fork: string,
  { signal, drop }: PromoteOptions,
): Promise<Promotion> {
  const { notDropped, ...done } = await client.json<Promoted>({
    method: 'POST',
    path: `${path}/promote`,
    json: { fork, drop },
    signal,
  })
  return { ...done, ...(notDropped && { notDropped: notDropped.map(errorFromBody) }) }
}
