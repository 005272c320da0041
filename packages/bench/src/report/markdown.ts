/** The same in short, for a README or a pull request. */
import type { Verdict } from '../promises.js'
import { nameOf, type Results } from '../results.js'
import { type Context, contextOf } from './context.js'
import { slopeTables } from './sections/growth.js'
import { operationTables } from './sections/operations.js'
import { promiseLine, promiseTable } from './sections/promises.js'
import { countsOf, failureLines, machineLine, runLine } from './sections/ran.js'
import { searchTables } from './sections/search.js'
import { workerTable } from './sections/worker.js'
import { writesTables } from './sections/writes.js'
import { plain, type Table, tableMarkdown } from './table.js'

export function reportMarkdown(
  results: Results,
  verdicts: readonly Verdict[],
  compared?: ReadonlyMap<string, string>,
): string {
  const context = contextOf(results, verdicts, compared)
  const { samples, failures, skipped, early } = countsOf(context)
  const blocks = [
    '# What DeltaBox costs',
    `${plain(runLine(context))}  \n${plain(machineLine(context))}`,
    `${samples} samples in ${context.series.length} series, ${failures} failed, ${skipped} skipped${early > 0 ? `, ${early} suites ended early` : ''}.`,
    ...troubles(context),
    ...part(`Promises: ${promiseLine(verdicts)}`, verdicts.length > 0 ? [promiseTable(context)] : []),
    ...part('A worker of 50 MB, kept and brought back', [workerTable(context)]),
    ...part('Operations', operationTables(context)),
    ...part('What costs grow with', slopeTables(context)),
    ...part('Searches over repositories', searchTables(context)),
    ...part('What an edit writes', writesTables(context)),
  ]
  return `${blocks.join('\n\n')}\n`
}

function part(title: string, tables: readonly (Table | undefined)[]): string[] {
  const written = tables.flatMap((table) => (table ? [tableMarkdown(table)] : []))
  return written.length > 0 ? [`## ${title}`, ...written] : []
}

function troubles(context: Context): string[] {
  const { suites } = context.results
  const early = suites.flatMap(({ name, error }) =>
    error === undefined ? [] : [`- **${plain(name)}** ended early: ${plain(error.split('\n')[0] ?? '')}`],
  )
  const failed = failureLines(context).map(
    ({ of, why, times }) => `- **${plain(nameOf(of))}** failed ${times} times: ${plain(why)}`,
  )
  const skipped = suites.flatMap((suite) =>
    suite.skipped.map(({ what, why }) => `- not measured: ${plain(what)}: ${plain(why)}`),
  )
  const lines = [...early, ...failed, ...skipped]
  return lines.length > 0 ? [lines.join('\n')] : []
}
