/** A program of its own for each suite: no daemon, heap or fault of one is another's. Writes what it has measured to a file. */
import { writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { Recorder } from './recorder.js'
import type { Size, SuiteResults } from './results.js'
import { suites } from './suites.js'

const [name, size, file] = process.argv.slice(2)
const entry = suites.find((one) => one.name === name)
if (!entry || !file) throw new Error(`usage: run-suite NAME quick|full FILE`)

const stop = new AbortController()
process.on('SIGTERM', () => stop.abort(new Error('it was told to stop')))
const record = new Recorder(stop.signal)
const started = performance.now()
const before = loadavg()[0] ?? 0
const say = (text: string): void => void process.stderr.write(`  ${text}\n`)
let error: string | undefined
try {
  await (await entry.load()).run({ size: size as Size, record, say })
} catch (reason) {
  error = reason instanceof Error ? (reason.stack ?? reason.message) : String(reason)
  process.exitCode = 1
}
const results: SuiteResults = {
  name: entry.name,
  seconds: (performance.now() - started) / 1000,
  load: [before, loadavg()[0] ?? 0],
  ...record.recorded,
  ...(error === undefined ? {} : { error }),
}
writeFileSync(file, JSON.stringify(results))
// What a suite has started may hold the program up when it has failed.
process.exit()
