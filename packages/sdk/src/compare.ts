import type { Diff, FileChange } from '@deltabox/protocol'
import type { CallOptions } from './cancel.js'
import type { Client } from './client.js'

/** A sandbox as it is now, a checkpoint, an id or name of one, or `base`: what the family's first sandbox started from. */
export type StateReference = string | { readonly id: string }

export function idOf(state: StateReference): string {
  return typeof state === 'string' ? state : state.id
}

export async function compare(
  client: Client,
  from: StateReference,
  to: StateReference,
  options: CallOptions,
): Promise<FileChange[]> {
  const diff = await client.json<Diff>({
    method: 'GET',
    path: '/v1/diff',
    query: { from: idOf(from), to: idOf(to) },
    signal: options.signal,
  })
  return diff.changes
}
