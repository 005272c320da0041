/** Of samples. */

/** With the value between two neighbours where it falls between them. */
export function quantile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b)
  const at = (sorted.length - 1) * share
  const below = sorted[Math.floor(at)] ?? Number.NaN
  const above = sorted[Math.ceil(at)] ?? Number.NaN
  return below + (above - below) * (at - Math.floor(at))
}

export function median(samples: readonly number[]): number {
  return quantile(samples, 0.5)
}

export interface Line {
  readonly slope: number
  readonly start: number
}

/**
 * The line through points that few outliers do not bend: its slope is the median of those between any two of them (Theil and Sen).
 * Undefined where all have the same x.
 */
export function fit(points: readonly (readonly [x: number, y: number])[]): Line | undefined {
  const slopes = points.flatMap(([x1, y1], index) =>
    points.slice(index + 1).flatMap(([x2, y2]) => (x1 === x2 ? [] : [(y2 - y1) / (x2 - x1)])),
  )
  if (slopes.length === 0) return undefined
  const slope = median(slopes)
  return { slope, start: median(points.map(([x, y]) => y - slope * x)) }
}
