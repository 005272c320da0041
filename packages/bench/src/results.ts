/** What a run leaves behind: every sample, and what is needed to judge it. All that is reported or promised is computed from this. */
import { readFileSync } from 'node:fs'
import { DeltaBoxError } from 'deltabox'
import type { Machine } from './machine.js'

const FORMAT = 'deltabox-bench'
const VERSION = 1

export type Size = 'quick' | 'full'
export type Unit = 'ms' | 'bytes' | 'x'
export type Parameters = Readonly<Record<string, number | string>>

/** What a series is of. No two have the same. */
export interface SeriesKey {
  /** What is varied or compared: `memory`, `open-files`, `baselines`. */
  readonly group: string
  /** Who did it: `deltabox`, `criu`, `bare` for what no sandbox can be faster than. */
  readonly system: string
  /** `checkpoint`, `rollback-template`, `fork-16`. */
  readonly operation: string
  readonly parameters: Parameters
  readonly unit: Unit
  /** What is in each sample and what is not. */
  readonly timer: string
}

export interface Series extends SeriesKey {
  readonly samples: readonly number[]
  /** By name, one for each sample that told of it. */
  readonly phases: Readonly<Record<string, readonly number[]>>
  /** What was tried and gave no sample. */
  readonly failures: readonly string[]
}

export interface SuiteResults {
  readonly name: string
  readonly seconds: number
  /** The load of the machine when it began and when it ended. */
  readonly load: readonly [number, number]
  readonly series: readonly Series[]
  readonly skipped: readonly Skipped[]
  readonly notes: readonly string[]
  /** Why it ended before it was done. */
  readonly error?: string
}

export interface Skipped {
  readonly what: string
  readonly why: string
}

export interface Results {
  readonly format: typeof FORMAT
  readonly version: typeof VERSION
  readonly deltabox: string
  readonly size: Size
  readonly started: string
  readonly machine: Machine
  readonly suites: readonly SuiteResults[]
}

export function resultsOf(results: Omit<Results, 'format' | 'version'>): Results {
  return { format: FORMAT, version: VERSION, ...results }
}

export function readResults(file: string): Results {
  const results = parsed(file)
  if (results?.format !== FORMAT || results.version !== VERSION) {
    throw new DeltaBoxError(
      'invalid_request',
      `${file} is not what a benchmark of this version leaves behind`,
    )
  }
  return results
}

function parsed(file: string): Results | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Results | null
  } catch (cause) {
    throw new DeltaBoxError('invalid_request', `${file} cannot be read: ${cause}`, { cause })
  }
}

export function seriesOf({ suites }: Results): Series[] {
  return suites.flatMap(({ series }) => series)
}

/** `memory/deltabox/rollback-template?memory=50` */
export function nameOf({ group, system, operation, parameters }: SeriesKey): string {
  const query = Object.entries(parameters).map(([name, value]) => `${name}=${value}`)
  return `${group}/${system}/${operation}${query.length > 0 ? `?${query.join('&')}` : ''}`
}
