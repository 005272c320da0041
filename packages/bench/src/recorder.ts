/** Collects what a suite measures. */
import { nameOf, type Series, type SeriesKey, type Skipped } from './results.js'

export type Phases = Readonly<Record<string, number>>

/** So many failures one after the other, and what is measured does not work. */
const MOST_FAILURES = 3

const NEVER = new AbortController().signal

export class Samples {
  readonly key: SeriesKey
  readonly #samples: number[] = []
  readonly #phases: Record<string, number[]> = {}
  readonly #failures: string[] = []
  readonly #stop: AbortSignal
  #failedInARow = 0

  constructor(key: SeriesKey, stop: AbortSignal = NEVER) {
    this.key = key
    this.#stop = stop
  }

  add(sample: number, phases: Phases = {}): void {
    this.#stop.throwIfAborted()
    if (!Number.isFinite(sample)) throw new Error(`${nameOf(this.key)}: ${sample} is no sample`)
    this.#samples.push(sample)
    this.#failedInARow = 0
    for (const [phase, ms] of Object.entries(phases)) {
      this.#phases[phase] ??= []
      this.#phases[phase].push(ms)
    }
  }

  /** From the call to its return. What fails is counted, and gives no sample. */
  async time<T>(action: () => Promise<T>, phasesOf?: (result: T) => Phases): Promise<T | undefined> {
    const started = performance.now()
    try {
      const result = await action()
      const ms = performance.now() - started
      this.add(ms, phasesOf?.(result))
      return result
    } catch (error) {
      this.fail(error)
      return undefined
    }
  }

  fail(error: unknown): void {
    this.#stop.throwIfAborted()
    this.#failures.push(String(error))
    this.#failedInARow += 1
    if (this.#failedInARow >= MOST_FAILURES) throw error
  }

  get series(): Series {
    return { ...this.key, samples: this.#samples, phases: this.#phases, failures: this.#failures }
  }
}

/** Whoever is to stop finds out when it records the next sample, and undoes what it has done. */
export class Recorder {
  readonly #stop: AbortSignal
  readonly #all = new Map<string, Samples>()
  readonly #skipped: Skipped[] = []
  readonly #notes: string[] = []

  constructor(stop: AbortSignal = NEVER) {
    this.#stop = stop
  }

  /** The same for the same key. */
  samples(key: SeriesKey): Samples {
    this.#stop.throwIfAborted()
    const name = nameOf(key)
    const samples = this.#all.get(name) ?? new Samples(key, this.#stop)
    this.#all.set(name, samples)
    return samples
  }

  /** Loudly. */
  skip(what: string, why: string): void {
    process.stderr.write(`\nSKIPPED: ${what}: ${why}\n\n`)
    this.#skipped.push({ what, why })
  }

  note(text: string): void {
    this.#notes.push(text)
  }

  get recorded(): { series: Series[]; skipped: Skipped[]; notes: string[] } {
    return {
      series: [...this.#all.values()].map(({ series }) => series),
      skipped: this.#skipped,
      notes: this.#notes,
    }
  }
}
