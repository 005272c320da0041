/** Looks at series: what they are called, what their samples come to. */
import { nameOf, type Series, type SeriesKey } from '../results.js'
import { median, quantile } from '../statistics.js'
import { digits, parameter, quantity } from './quantities.js'

/** Of samples of which there is at least one. */
export interface Summary {
  readonly median: number
  readonly mean: number
  readonly p95: number
  readonly p99: number
  readonly least: number
  readonly most: number
}

/** Undefined where nothing was measured. */
export function summaryOf({ samples }: Pick<Series, 'samples'>): Summary | undefined {
  if (samples.length === 0) return undefined
  return {
    median: median(samples),
    mean: samples.reduce((sum, one) => sum + one, 0) / samples.length,
    p95: quantile(samples, 0.95),
    p99: quantile(samples, 0.99),
    least: quantile(samples, 0),
    most: quantile(samples, 1),
  }
}

export const DELTABOX = 'deltabox'
export const BARE = 'bare'

/** The first of what was measured bare under that name. */
export function bareOf(all: readonly Series[], name: string): Series | undefined {
  return all.find(
    ({ system, operation, samples }) => system === BARE && operation === name && samples.length > 0,
  )
}

/** Others are called as they call themselves. */
const SYSTEMS: Readonly<Record<string, string>> = {
  [DELTABOX]: 'DeltaBox',
  [BARE]: 'bare',
  criu: 'CRIU',
  'criu-container': 'CRIU, of a container',
  gvisor: 'gVisor',
  'copy-and-replay': 'copy + replay',
  'layer-and-restart': 'layer commit + restart',
  'git-and-restart': 'git + restart',
}

export function systemName(system: string): string {
  return SYSTEMS[system] ?? system
}

/** DeltaBox first, then as they are known, then all others as they come. */
export function inOrderOfSystems<T>(all: readonly T[], systemOf: (one: T) => string): T[] {
  const known = Object.keys(SYSTEMS)
  const place = (one: T): number => (known.indexOf(systemOf(one)) + known.length + 1) % (known.length + 1)
  return all.toSorted((a, b) => place(a) - place(b))
}

/** `fork-16-answered` is `fork 16, answered`. */
export function operationName(operation: string): string {
  return operation.replace(/-answered$/, ', answered').replaceAll('-', ' ')
}

export function parametersName(parameters: SeriesKey['parameters'], without?: string): string {
  return Object.entries(parameters)
    .filter(([name]) => name !== without)
    .map(([name, value]) => parameter(name, value))
    .join(', ')
}

/** What it is called beside others that differ in some of this. What it is called after is not told again: `fan-out-16` of 16. */
export function label(series: SeriesKey, without?: string): string {
  const system = series.system === DELTABOX ? '' : `${systemName(series.system)}: `
  const parameters = parametersName(series.parameters, without)
  return `${system}${operationName(operationOf(series, without))}${parameters ? ` (${parameters})` : ''}`
}

function operationOf({ operation, parameters }: SeriesKey, without: string | undefined): string {
  const value = without === undefined ? undefined : parameters[without]
  return operation
    .split('-')
    .filter((part) => part !== String(value))
    .join('-')
}

/** One of its samples, or what was computed of them. */
export function told({ operation, unit }: SeriesKey, value: number): string {
  return unit === 'x' && operation.includes('occupation') ? `${digits(100 * value)} %` : quantity(value, unit)
}

/** Where its row in the table of all series is: the same text stands after the `#` of a link. */
export function anchorOf(series: SeriesKey): string {
  return encodeURIComponent(nameOf(series).replace(/\p{Cs}/gu, '\ufffd'))
}

/** In the order in which they are first met. */
export function distinct<T, K>(all: readonly T[], keyOf: (one: T) => K): K[] {
  return [...new Set(all.map(keyOf))]
}
