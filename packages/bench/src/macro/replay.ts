/** What a search has done, done again by a contender: back to the parent's state, the action, and the new state is kept. */
import type { Contender, Contest, Kept, Task } from '../baselines/contender.js'
import type { Samples } from '../recorder.js'
import { timed } from '../suite.js'
import { difference, type Expansion, lastUsesIn, type Told, type Trace, toldBy } from './trace.js'

export interface ReplaySeries {
  readonly checkpoint: Samples
  readonly restore: Samples
}

/** Milliseconds of all that was done. */
export interface Spent {
  readonly expansions: number
  readonly actMs: number
  /** To keep states and to go back to them. */
  readonly stateMs: number
}

const ROOT = 0

export class Replay {
  readonly #contest: Contest
  readonly #series: ReplaySeries
  readonly #memoryCounts: boolean
  readonly #states = new Map<number, { readonly kept: Kept; readonly told: Told }>()
  readonly #lastUses: ReadonlyMap<number, number>
  /** The node whose state it is in; undefined where something was done since. */
  #at: number | undefined
  #questions = 0
  #expansions = 0
  #actMs = 0
  #stateMs = 0

  private constructor(contest: Contest, trace: Trace, series: ReplaySeries, memoryCounts: boolean) {
    this.#contest = contest
    this.#lastUses = lastUsesIn(trace)
    this.#series = series
    this.#memoryCounts = memoryCounts
  }

  /** Up to the root, which no figure has. Fails where the contender cannot work here. */
  static async begin(contender: Contender, task: Task, trace: Trace, series: ReplaySeries): Promise<Replay> {
    const contest = await contender.begin(task)
    try {
      const replay = new Replay(contest, trace, series, contender.bringsMemoryBack)
      const wrong = difference(await replay.#tell(), trace.root)
      if (wrong) throw new Error(`it begins with ${wrong}`)
      replay.#states.set(ROOT, { kept: await contest.checkpoint(), told: trace.root })
      replay.#at = ROOT
      return replay
    } catch (error) {
      await contest.end()
      throw error
    }
  }

  get spent(): Spent {
    return { expansions: this.#expansions, actMs: this.#actMs, stateMs: this.#stateMs }
  }

  /** What cannot be begun, as its parent failed, is passed over. */
  async expand(expansion: Expansion): Promise<void> {
    if (!this.#states.has(expansion.parent)) return
    await this.#expand(expansion)
    await this.#forgetAfter(expansion.node)
  }

  async #expand({ node, parent, seed, told }: Expansion): Promise<void> {
    if (this.#at !== parent && !(await this.#goTo(parent))) return
    this.#at = undefined
    this.#actMs += await timed(() => this.#ask('act', seed))
    this.#expansions += 1
    const started = performance.now()
    const state = await this.#series.checkpoint.time(async () => ({ kept: await this.#contest.checkpoint() }))
    this.#stateMs += performance.now() - started
    if (!state) return
    this.#states.set(node, { ...state, told })
    this.#at = node
  }

  async end(): Promise<void> {
    await this.#contest.end()
  }

  /** A state that is not the one it should be is a failure. */
  async #goTo(node: number): Promise<boolean> {
    const state = this.#states.get(node)
    if (!state) return false
    this.#at = undefined
    const { restore } = this.#series
    const started = performance.now()
    try {
      await this.#contest.restore(state.kept)
    } catch (error) {
      restore.fail(error)
      return false
    } finally {
      this.#stateMs += performance.now() - started
    }
    const ms = performance.now() - started
    const wrong = difference(await this.#tell(), state.told, this.#memoryCounts)
    if (wrong) restore.fail(new Error(`back at node ${node} with ${wrong}`))
    else restore.add(ms)
    return wrong === undefined
  }

  /** Disks are not filled with what nobody goes back to. */
  async #forgetAfter(node: number): Promise<void> {
    for (const [one, { kept }] of this.#states) {
      if ((this.#lastUses.get(one) ?? ROOT) > node) continue
      this.#states.delete(one)
      await this.#contest.forget(kept)
    }
  }

  async #tell(): Promise<Told> {
    return toldBy(await this.#ask('tell'))
  }

  async #ask(question: 'act' | 'tell', ...more: readonly number[]): Promise<string> {
    this.#questions += 1
    const line = [question, this.#questions, ...more].join(' ')
    const answer = question === 'act' ? await this.#contest.act(line) : await this.#contest.ask(line)
    const number = `${this.#questions} `
    if (!answer.startsWith(number)) throw new Error(`${line} was answered with ${JSON.stringify(answer)}`)
    return answer.slice(number.length)
  }
}

/** All of it / what model and actions take of it. Nothing is done while the model is waited for. */
export function overheadOf({ expansions, actMs, stateMs }: Spent, waitMs: number): number {
  const needed = expansions * waitMs + actMs
  return (needed + stateMs) / needed
}
