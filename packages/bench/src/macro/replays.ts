/** All contenders do what a search has done, in turns. */
import type { Contender } from '../baselines/contender.js'
import { program } from '../programs.js'
import type { Samples } from '../recorder.js'
import type { Unit } from '../results.js'
import type { Bench } from '../suite.js'
import { overheadOf, Replay } from './replay.js'
import type { Expansion, Trace } from './trace.js'

/** For the end-to-end figures, whatever was waited in the search. */
const MODEL_MS = 1000
/** However long they take. */
const LEAST_EXPANSIONS = 5

export interface Replayed {
  readonly repository: string
  readonly workspace: string
  readonly trace: Trace
  /** Who has needed longer for actions and states does no more of this repository. */
  readonly allowanceMs: number
}

/** Each expansion by each of them before the next. */
export async function replay(
  contenders: readonly Contender[],
  replayed: Replayed,
  bench: Bench,
): Promise<void> {
  const turns: Turns[] = []
  try {
    for (const contender of contenders) {
      const one = await Turns.begin(contender, replayed, bench)
      if (one) turns.push(one)
    }
    for (const expansion of replayed.trace.expansions) {
      for (const one of turns) await one.take(expansion)
    }
    for (const one of turns) one.conclude()
  } finally {
    const ended = await Promise.allSettled(turns.map((one) => one.end()))
    for (const one of ended)
      if (one.status === 'rejected') bench.record.note(`What was left could not be ended: ${one.reason}`)
  }
}

class Turns {
  readonly #name: string
  readonly #replay: Replay
  readonly #replayed: Replayed
  readonly #bench: Bench
  #isOver = false

  private constructor(name: string, replay: Replay, replayed: Replayed, bench: Bench) {
    this.#name = name
    this.#replay = replay
    this.#replayed = replayed
    this.#bench = bench
  }

  static async begin(contender: Contender, replayed: Replayed, bench: Bench): Promise<Turns | undefined> {
    const { name } = contender
    const { repository, workspace, trace } = replayed
    const task = { workspace, program: program('repository.py'), args: [] }
    const series = {
      checkpoint: samplesOf(name, replayed, bench, 'checkpoint', 'from the call to its return'),
      restore: samplesOf(
        name,
        replayed,
        bench,
        'restore',
        `from the call until the worker can be asked again, where it is not in that state already; files${
          contender.bringsMemoryBack ? ' and memory' : ', not memory,'
        } are verified afterwards`,
      ),
    }
    try {
      bench.say(`${repository}: ${name}`)
      return new Turns(name, await Replay.begin(contender, task, trace, series), replayed, bench)
    } catch (error) {
      bench.record.skip(`the search over ${repository} by ${name}`, String(error))
      return undefined
    }
  }

  async take(expansion: Expansion): Promise<void> {
    if (this.#isOver) return
    const { allowanceMs } = this.#replayed
    const { actMs, stateMs, expansions } = this.#replay.spent
    if (actMs + stateMs > allowanceMs && expansions >= LEAST_EXPANSIONS) {
      return this.#stop(`they have needed ${allowanceMs / 1000} s`)
    }
    try {
      await this.#replay.expand(expansion)
    } catch (error) {
      this.#stop(String(error))
    }
  }

  conclude(): void {
    const { spent } = this.#replay
    if (spent.expansions === 0) return
    const { trace } = this.#replayed
    const timer = `(model + actions + states) / (model + actions) over as many of the ${trace.expansions.length} expansions as it has done; the model's ${MODEL_MS} ms for each are added, and nothing is hidden behind them`
    const series = samplesOf(this.#name, this.#replayed, this.#bench, 'overhead', timer, 'x')
    series.add(overheadOf(spent, MODEL_MS))
  }

  async end(): Promise<void> {
    await this.#replay.end()
  }

  #stop(why: string): void {
    this.#isOver = true
    const { repository, trace } = this.#replayed
    const { expansions } = this.#replay.spent
    const rest = `all but ${expansions} of ${trace.expansions.length} expansions`
    this.#bench.record.skip(`${rest} of the search over ${repository} by ${this.#name}`, why)
  }
}

function samplesOf(
  system: string,
  { repository }: Replayed,
  { record }: Bench,
  operation: string,
  timer: string,
  unit: Unit = 'ms',
): Samples {
  return record.samples({
    group: 'search-replay',
    system,
    ...{ operation, parameters: { repository }, unit, timer },
  })
}
