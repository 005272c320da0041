export { type BenchOptions, bench, type Outcome } from './bench.js'
export type { Verdict } from './promises.js'
export { suites } from './suites.js'
