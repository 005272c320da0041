/** A run: one suite after the other, what they measured to files, and what is promised compared with it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { machine } from './machine.js'
import { comparedBy, type Verdict, verdicts } from './promises.js'
import { reportHtml } from './report/html.js'
import { reportMarkdown } from './report/markdown.js'
import { overviewSvg } from './report/overview.js'
import { type Results, readResults, resultsOf, type Size, type SuiteResults } from './results.js'
import { type SuiteEntry, suites } from './suites.js'

export interface BenchOptions {
  readonly size: Size
  /** Where the files go. */
  readonly directory: string
  /** Only these suites. */
  readonly only?: readonly string[]
  /** What an earlier run has measured is reported again. */
  readonly from?: string
  /** By how much promises may be broken. */
  readonly margin?: number
  /** What runs is ended, and what was measured is reported. */
  readonly signal?: AbortSignal
  readonly say: (text: string) => void
}

export interface Outcome {
  readonly results: Results
  readonly verdicts: readonly Verdict[]
  readonly files: {
    readonly results: string
    readonly report: string
    readonly summary: string
    readonly overview: string
  }
}

export async function bench(options: BenchOptions): Promise<Outcome> {
  const { directory, from, margin } = options
  mkdirSync(directory, { recursive: true })
  const file = (name: string): string => path.join(directory, name)
  const files = {
    ...{ results: file('results.json'), report: file('report.html') },
    ...{ summary: file('summary.md'), overview: file('overview.svg') },
  }
  const results = from === undefined ? await run(options, files.results) : readResults(from)
  const judged = verdicts(results, margin)
  const compared = comparedBy()
  writeFileSync(files.results, `${JSON.stringify(results)}\n`)
  writeFileSync(files.report, reportHtml(results, judged, compared))
  writeFileSync(files.summary, reportMarkdown(results, judged, compared))
  writeFileSync(files.overview, overviewSvg(results))
  return { results, verdicts: judged, files }
}

async function run({ size, only, say, signal }: BenchOptions, file: string): Promise<Results> {
  const chosen = only ? suites.filter(({ name }) => only.includes(name)) : suites
  const begun = { deltabox: version(), size, started: new Date().toISOString(), machine: machine() }
  const done: SuiteResults[] = []
  for (const suite of chosen) {
    if (signal?.aborted) break
    say(`${suite.name}: ${suite.about}`)
    const results = await runSuite(suite, size, signal)
    say(`${suite.name}: ${results.seconds.toFixed(0)} s${results.error ? `, failed: ${results.error}` : ''}`)
    done.push(results)
    // Whoever stops it here has what was measured.
    writeFileSync(file, `${JSON.stringify(resultsOf({ ...begun, suites: done }))}\n`)
  }
  return resultsOf({ ...begun, suites: done })
}

async function runSuite({ name }: SuiteEntry, size: Size, signal?: AbortSignal): Promise<SuiteResults> {
  const directory = mkdtempSync(path.join(tmpdir(), 'dbb-suite-'))
  const file = path.join(directory, 'results.json')
  try {
    const program = fileURLToPath(new URL('run-suite.js', import.meta.url))
    const child = spawn(process.execPath, [program, name, size, file], {
      stdio: ['ignore', 'ignore', 'inherit'],
      // Ctrl-C on the terminal is not for what it has started: it is told to stop, and ends them.
      detached: true,
    })
    const stop = (): boolean => child.kill('SIGTERM')
    signal?.addEventListener('abort', stop)
    const [status, killer] = await once(child, 'exit')
    signal?.removeEventListener('abort', stop)
    try {
      return JSON.parse(readFileSync(file, 'utf8')) as SuiteResults
    } catch {
      const error = `its program ended with ${status ?? killer} and left nothing`
      return { name, seconds: 0, load: [0, 0], series: [], skipped: [], notes: [], error }
    }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

function version(): string {
  const manifest = new URL('../package.json', import.meta.url)
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version
}
