/** Figures for people. */
import type { NodeTimes } from '../tree.js'

export function milliseconds(ms: number): string {
  if (ms >= 10_000) return `${(ms / 1000).toFixed(0)} s`
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`
  return `${ms.toFixed(ms < 100 ? 1 : 0)} ms`
}

export function value(worth: number): string {
  return worth.toFixed(2)
}

export function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length / 2
  return ((sorted[Math.floor(middle)] ?? 0) + (sorted[Math.ceil(middle) - 1] ?? 0)) / 2
}

export interface Series {
  readonly sum: number
  readonly median: number
  readonly most: number
}

function seriesOf(values: readonly number[]): Series {
  return {
    sum: values.reduce((all, one) => all + one, 0),
    median: medianOf(values),
    most: Math.max(0, ...values),
  }
}

/** By name, over all nodes that have it: the first to begin in a sandbox need not go anywhere, and who failed kept nothing. */
export function seriesByName(
  nodes: readonly { readonly times: NodeTimes }[],
): Readonly<Record<keyof NodeTimes, Series>> {
  const of = (name: keyof NodeTimes): Series =>
    seriesOf(nodes.flatMap(({ times }) => (times[name] > 0 ? [times[name]] : [])))
  return {
    propose: of('propose'),
    act: of('act'),
    evaluate: of('evaluate'),
    goTo: of('goTo'),
    goToHidden: of('goToHidden'),
    rollback: of('rollback'),
    checkpoint: of('checkpoint'),
    checkpointHidden: of('checkpointHidden'),
    blocking: of('blocking'),
  }
}

/** How long a step took whoever waited for it. */
export function stepMs({
  propose,
  act,
  evaluate,
  goTo,
  goToHidden,
  checkpoint,
  checkpointHidden,
}: NodeTimes): number {
  return propose + act + evaluate + (goTo - goToHidden) + (checkpoint - checkpointHidden)
}
