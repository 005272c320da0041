/** Which checkpoints stay, as `prune` and `retention` take it. */
import { type Command, InvalidArgumentError } from 'commander'
import type { KeepRules } from 'deltabox'
import { collect } from './options.js'

const UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}

/** `90s`, `30m`, `2h`, `7d`. */
export function duration(value: string): number {
  const [, amount, unit = ''] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(value) ?? []
  const unitMs = UNITS_MS[unit]
  if (amount === undefined || unitMs === undefined) {
    throw new InvalidArgumentError('A time with its unit is wanted, as 90s, 30m, 2h or 7d.')
  }
  return Math.round(Number(amount) * unitMs)
}

function count(value: string): number {
  if (!/^\d+$/.test(value)) throw new InvalidArgumentError('A whole number is wanted.')
  return Number(value)
}

export interface KeepFlags {
  readonly keepLast?: number
  readonly keepNewerThan?: number
  readonly keepLabelled: boolean
  readonly keep?: readonly string[]
}

export function addKeepOptions(command: Command): Command {
  return command
    .option('--keep-last <n>', 'keep the latest so many', count)
    .option('--keep-newer-than <time>', 'keep those taken in the last 90s, 30m, 2h or 7d', duration)
    .option('--no-keep-labelled', 'do not keep those with a label')
    .option('--keep <checkpoint>', 'keep this one, repeatable', collect)
}

export function toKeepRules({ keepLast, keepNewerThan, keepLabelled, keep }: KeepFlags): KeepRules {
  return {
    ...(keepLast === undefined ? {} : { keepLast }),
    ...(keepNewerThan === undefined ? {} : { keepNewerThanMs: keepNewerThan }),
    ...(keepLabelled ? {} : { keepLabelled }),
    ...(keep === undefined ? {} : { keep }),
  }
}
