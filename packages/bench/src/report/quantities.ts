/** Figures for people: three digits that count, in a unit in which they are short. */
import type { Unit } from '../results.js'

interface Step {
  readonly from: number
  readonly name: string
  readonly size: number
}

/** From large to small; the last is for all that is smaller. */
const STEPS: Readonly<Record<'ms' | 'bytes', readonly Step[]>> = {
  ms: [
    { from: 1000, name: 's', size: 1000 },
    { from: 0.1, name: 'ms', size: 1 },
    { from: 1e-4, name: 'µs', size: 1e-3 },
    { from: 0, name: 'ns', size: 1e-6 },
  ],
  bytes: [
    { from: 1e9, name: 'GB', size: 1e9 },
    { from: 1e6, name: 'MB', size: 1e6 },
    { from: 1e3, name: 'KB', size: 1e3 },
    { from: 0, name: 'bytes', size: 1 },
  ],
}

/** `0.0123`, `1.23`, `123`, `12,300` */
export function digits(value: number): string {
  if (value === 0) return '0'
  const short = Number(value.toPrecision(3))
  const places = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(short))))
  return short.toLocaleString('en', { minimumFractionDigits: places, maximumFractionDigits: places })
}

/** Of two things that are about the same a digit more: `1.004`. */
export function ratio(value: number): string {
  return value > 0.95 && value < 1.05 ? value.toFixed(3) : digits(value)
}

/** `1.23 ms`, `45.6 KB`, `1.01 ×` */
export function quantity(value: number, unit: Unit): string {
  if (unit === 'x') return `${ratio(value)} ×`
  const { name, size } = stepOf(value, unit)
  const isWhole = name === 'bytes' && Number.isInteger(value)
  return `${isWhole ? value : digits(value / size)} ${name}`
}

/** With its sign also where it is positive. */
export function change(value: number, unit: Unit): string {
  return `${value < 0 ? '−' : '+'}${quantity(Math.abs(value), unit)}`
}

/** At the ticks of an axis, all of which are a round number already. */
export function tick(value: number, unit: Unit): string {
  if (value === 0 || unit === 'x') return String(Number(value.toPrecision(6)))
  const { name, size } = stepOf(value, unit)
  return `${Number((value / size).toPrecision(6))} ${name}`
}

function stepOf(value: number, unit: 'ms' | 'bytes'): Step {
  if (value === 0) return { from: 0, name: unit, size: 1 }
  const short = Math.abs(Number(value.toPrecision(3)))
  return STEPS[unit].find(({ from }) => short >= from) ?? { from: 0, name: unit, size: 1 }
}

/** A parameter whose name is its unit. */
const UNITS: Readonly<Record<string, string>> = { megabytes: 'MB', kilobytes: 'KB', bytes: 'bytes', ms: 'ms' }
/** Words that need no name. */
const NAMES_OF_THEIR_OWN: readonly string[] = ['repository', 'policy', 'fileSystem', 'edit']

/** `50 MB`, `2.10 MB`, `1,000 files`, `after create`, `ext4`, `a file of 1-8 KB` */
export function parameter(name: string, value: number | string): string {
  if (name === 'bytes') return quantity(Number(value), 'bytes')
  if (typeof value === 'number') {
    return `${value.toLocaleString('en')} ${value === 1 ? single(name) : plural(name)}`
  }
  if (name === 'fileKilobytes') return `a file of ${value} KB`
  return NAMES_OF_THEIR_OWN.includes(name) ? value : `${words(name)} ${value}`
}

/** What one more of it is called. */
export function single(name: string): string {
  if (name === 'children') return 'child'
  return (
    UNITS[name] ??
    words(name)
      .replace(/(ss|sh|ch|x)es$/, '$1')
      .replace(/([^s])s$/, '$1')
  )
}

/** Above the axis along which it grows. */
export function plural(name: string): string {
  return UNITS[name] ?? words(name)
}

function words(name: string): string {
  return name.replace(/([a-z])([A-Z])/g, '$1 $2').toLowerCase()
}
