import type { Pruned, Retention, RetentionRules } from '@deltabox/protocol'
import type { CallOptions } from './cancel.js'
import type { Checkpoint } from './checkpoint.js'
import type { Client } from './client.js'
import { idOf } from './compare.js'

/** What stays. A checkpoint that no rule keeps goes, unless a sandbox stands on it. */
export interface KeepRules {
  /** The latest so many. */
  readonly keepLast?: number
  /** Those with a label; no rule by itself. Default: true. */
  readonly keepLabelled?: boolean
  /** Those taken less than so many milliseconds ago. */
  readonly keepNewerThanMs?: number
  /** These, or their ids. */
  readonly keep?: readonly (Checkpoint | string)[]
}

export interface PruneOptions extends KeepRules, CallOptions {
  /** Prune the checkpoints of its whole family, not only those taken of it. Default: false. */
  readonly family?: boolean
  /** Only tell what would go. Default: false. */
  readonly dryRun?: boolean
}

function withIds({ keep, ...rules }: KeepRules): RetentionRules {
  return { ...rules, ...(keep && { keep: keep.map(idOf) }) }
}

export async function prune(
  client: Client,
  path: string,
  { signal, family, dryRun, ...rules }: PruneOptions,
): Promise<Pruned> {
  const json = { ...withIds(rules), family, dryRun }
  return await client.json<Pruned>({ method: 'POST', path: `${path}/prune`, json, signal })
}

export async function setRetention(
  client: Client,
  path: string,
  rules: KeepRules | null,
  { signal }: CallOptions,
): Promise<RetentionRules | null> {
  const json = rules && withIds(rules)
  const set = await client.json<Retention>({ method: 'PUT', path: `${path}/retention`, json, signal })
  return set.retention
}
