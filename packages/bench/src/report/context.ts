/** What a report is made of. */
import type { Verdict } from '../promises.js'
import { type Results, type Series, seriesOf } from '../results.js'
import type { Markup } from './markup.js'

export interface Context {
  readonly results: Results
  readonly verdicts: readonly Verdict[]
  /** What each promise compares, by its name. */
  readonly compared: ReadonlyMap<string, string>
  readonly series: readonly Series[]
  in(...groups: readonly string[]): Series[]
}

export function contextOf(
  results: Results,
  verdicts: readonly Verdict[] = [],
  compared: ReadonlyMap<string, string> = new Map(),
): Context {
  const series = seriesOf(results)
  return {
    results,
    ...{ verdicts, compared },
    series,
    in: (...groups) => series.filter(({ group }) => groups.includes(group)),
  }
}

export interface Section {
  /** Where the contents lead. */
  readonly id: string
  readonly title: string
  /** Whose series it shows; what suites have noted that measure these stands in it. */
  readonly groups: readonly string[]
  /** Nothing where nothing was measured of it. */
  content(context: Context): Markup | undefined
}
