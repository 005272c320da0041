/** What SPECIFICATION.md promises, and whether a run kept it. */
import { readFileSync } from 'node:fs'
import { type Results, type Series, seriesOf } from './results.js'
import { median } from './statistics.js'

const SPECIFICATION = new URL('../../../SPECIFICATION.md', import.meta.url)

export interface Verdict {
  readonly promise: string
  readonly atMost: number
  /** Undefined where nothing was measured that tells. */
  readonly measured: number | undefined
  readonly broken: boolean
}

/** Rows of tables that begin with a name in backticks and end with a number. */
function rowsIn(specification: string): { name: string; compared: string; atMost: number }[] {
  const lines = specification.matchAll(/^\| `([\w-]+)` *\| (.*?) *\|\s*([\d.]+) \|$/gm)
  return Array.from(lines, ([, name = '', compared = '', atMost]) => ({
    name,
    compared,
    atMost: Number(atMost),
  }))
}

/** By name, what each is bounded by. */
export function promisesIn(specification: string): Map<string, number> {
  return new Map(rowsIn(specification).map(({ name, atMost }) => [name, atMost]))
}

/** By name, what each compares. */
export function comparedBy(
  specification: string = readFileSync(SPECIFICATION, 'utf8'),
): ReadonlyMap<string, string> {
  return new Map(rowsIn(specification).map(({ name, compared }) => [name, compared]))
}

/** A quick run has few samples and may run beside others: promises may be `margin` times over. */
export function verdicts(
  results: Results,
  margin = 1,
  specification: string = readFileSync(SPECIFICATION, 'utf8'),
): Verdict[] {
  const measured = new Measured(seriesOf(results))
  return Array.from(promisesIn(specification), ([promise, atMost]) => {
    const ratio = ratios[promise]
    if (!ratio) throw new Error(`nothing is known of how to measure ${promise}`)
    const value = ratio(measured)
    return { promise, atMost, measured: value, broken: value !== undefined && !(value <= atMost * margin) }
  })
}

type Ratio = (measured: Measured) => number | undefined

/** How each promise is computed of what was measured. */
const ratios: Readonly<Record<string, Ratio>> = {
  'bytes-written': growth('written', 'checkpoint-blocking', 'megabytes', 1024, 1),
  'tree-size': growth('tree-size', 'checkpoint-blocking', 'files', 50_000, 500),
  depth: growth('depth', 'checkpoint-blocking', 'layers', 64, 25),
  'open-files': growth('open-files', 'checkpoint-blocking', 'files', 1000, 100),
  'rollback-tree-size': growth('tree-size', 'rollback-template', 'files', 50_000, 500),
  'fork-many': (measured) =>
    over(measured.median('files-only', 'fork-16'), measured.median('files-only', 'fork-1-16-times')),
  'process-checkpoint': againstForks('checkpoint-blocking', 2.5, 2),
  'process-rollback': againstForks('rollback-spare', 1.5, 1.5),
  'process-rollback-old': againstForks('rollback-template', 1.5, 1.5),
  'process-rollback-size': growth('memory', 'rollback-template', 'megabytes', 1024, 50),
  'process-fork-16': againstForks('fork-16', 16, 16),
  'process-fork-64': againstForks('fork-64', 64, 64),
  'criu-checkpoint': beside('criu', 'checkpoint'),
  'criu-restore': beside('criu', 'restore-answered'),
  'gvisor-checkpoint': beside('gvisor', 'checkpoint'),
  'gvisor-restore': beside('gvisor', 'restore-answered'),
  'image-rollback': images('rollback-image'),
  'image-rollback-nearby': images('rollback-nearby'),
  'search-overhead': (measured) => measured.most('search', 'overhead'),
}

/** How much more it takes at one value than at another; a quick run goes as far as it goes, which must be further than the other. */
function growth(group: string, operation: string, parameter: string, large: number, small: number): Ratio {
  return (measured) => {
    const medians = measured.mediansBy(group, operation, parameter)
    const nearest = (value: number): number => Math.max(...[...medians.keys()].filter((one) => one <= value))
    const [far, near] = [nearest(large), nearest(small)]
    return far === near ? undefined : over(medians.get(far), medians.get(near))
  }
}

/** What of what is allowed beside a number of bare forks was needed. */
function againstForks(operation: string, ownMs: number, forks: number): Ratio {
  return (measured) => {
    const bare = measured.median('operations', 'fork', 'bare')
    return bare === undefined
      ? undefined
      : over(measured.median('operations', operation), ownMs + forks * bare)
  }
}

function beside(other: string, operation: string): Ratio {
  return (measured) =>
    over(measured.median('baselines', operation), measured.median('baselines', operation, other))
}

function images(operation: string): Ratio {
  return (measured) =>
    over(measured.median('images', operation), measured.median('images', 'rollback-template'))
}

function over(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? undefined : one / other
}

class Measured {
  readonly #series: readonly Series[]

  constructor(series: readonly Series[]) {
    this.#series = series.filter(({ samples }) => samples.length > 0)
  }

  #all(group: string, operation: string, system: string): Series[] {
    return this.#series.filter(
      (one) => one.group === group && one.operation === operation && one.system === system,
    )
  }

  median(group: string, operation: string, system = 'deltabox'): number | undefined {
    const [series] = this.#all(group, operation, system)
    return series && median(series.samples)
  }

  /** The largest of all medians. */
  most(group: string, operation: string): number | undefined {
    const medians = this.#all(group, operation, 'deltabox').map(({ samples }) => median(samples))
    return medians.length > 0 ? Math.max(...medians) : undefined
  }

  mediansBy(group: string, operation: string, parameter: string): Map<number, number> {
    const all = this.#all(group, operation, 'deltabox')
    return new Map(all.map(({ parameters, samples }) => [Number(parameters[parameter]), median(samples)]))
  }
}
