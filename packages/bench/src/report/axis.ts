/** Where values are along an axis. */

export interface Axis {
  readonly isLog: boolean
  readonly ticks: readonly number[]
  /** Its last value, which need not have a tick. */
  readonly end: number
  /** From 0 to 1. */
  at(value: number): number
}

/** From here on the small ones would lie upon each other. */
const LOG_FROM = 30
/** Zero is on no logarithm: it gets a place of its own before all others. */
const ZERO_ROOM = 0.1

export interface AxisOptions {
  /** About. */
  readonly ticks?: number
  /** Where it is linear it begins at zero. */
  readonly fromZero?: boolean
  readonly isLinear?: boolean
}

export function axisOf(
  values: readonly number[],
  { ticks = 5, fromZero = false, isLinear = false }: AxisOptions = {},
): Axis {
  const least = Math.min(...values)
  const most = Math.max(...values)
  const positive = values.filter((value) => value > 0)
  const smallest = Math.min(...positive)
  if (!isLinear && least >= 0 && positive.length > 0 && most / smallest >= LOG_FROM) {
    return logAxis(smallest, most, least === 0)
  }
  return linearAxis(fromZero ? Math.min(0, least) : least, most, ticks)
}

/** From the first to the last of them, with ticks where they are. */
export function axisThrough(values: readonly number[]): Axis {
  const ticks = [...new Set(values)].toSorted((a, b) => a - b)
  const [least = 0, end = 0] = [ticks[0], ticks.at(-1)]
  const smallest = Math.min(...ticks.filter((value) => value > 0))
  if (least >= 0 && end / smallest >= LOG_FROM) {
    return { isLog: true, ticks, end, at: logarithm(smallest, end, least === 0) }
  }
  return { isLog: false, ticks, end, at: (value) => (value - least) / (end - least || 1) }
}

function linearAxis(least: number, most: number, wanted: number): Axis {
  const span = most - least || Math.abs(most) || 1
  const step = roundStep(span / wanted)
  const first = Math.floor(least / step + 1e-9)
  const last = Math.max(first + 1, Math.ceil((most === least ? least + span : most) / step - 1e-9))
  const ticks = Array.from({ length: last - first + 1 }, (_, index) => rounded((first + index) * step))
  return {
    isLog: false,
    ticks,
    end: rounded(last * step),
    at: (value) => (value / step - first) / (last - first),
  }
}

/** 1, 2 or 5 times a power of ten, and not less. */
function roundStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least))
  return power * ([1, 2, 5].find((one) => one * power >= least * (1 - 1e-9)) ?? 10)
}

function rounded(value: number): number {
  return Number(value.toPrecision(12))
}

/** Its ends are 1, 2 or 5 times a power of ten. */
export function logAxis(least: number, most: number, withZero = false): Axis {
  const [low, high] = [floorOf(least), ceilOf(most)]
  const decades = Math.log10(high / low)
  const between = decades <= 2.5 ? [1, 2, 5] : [1]
  const first = Math.floor(Math.log10(low) + 1e-9)
  const ticks = Array.from({ length: Math.ceil(decades) + 2 }, (_, index) => first + index)
    .flatMap((power) => between.map((one) => rounded(one * 10 ** power)))
    .filter((one) => one >= low * (1 - 1e-9) && one <= high * (1 + 1e-9))
  const at = logarithm(low, high, withZero)
  return { isLog: true, ticks: withZero ? [0, ...ticks] : ticks, end: high, at }
}

function logarithm(low: number, high: number, withZero: boolean): Axis['at'] {
  const start = withZero ? ZERO_ROOM : 0
  const span = Math.log10(high / low) || 1
  return (value) => (value <= 0 ? 0 : start + ((1 - start) * Math.log10(value / low)) / span)
}

/** 1, 2 or 5 times a power of ten. */
function floorOf(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value) + 1e-9)
  return rounded(([5, 2].find((one) => one * power <= value * (1 + 1e-9)) ?? 1) * power)
}

function ceilOf(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value) + 1e-9)
  return rounded(([1, 2, 5].find((one) => one * power >= value * (1 - 1e-9)) ?? 10) * power)
}
