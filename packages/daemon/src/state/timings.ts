/** The engine's microseconds as milliseconds. */
export function milliseconds(timings: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(timings).map(([step, usec]) => [step, rounded(usec / 1000)]))
}

/** To a microsecond. */
export function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000
}
