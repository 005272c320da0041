/** What a search has told of itself so far. */
import type { Phase, SearchEvent } from '../options.js'
import type { SearchTree } from '../tree.js'
import { timesOf } from './bar.js'
import { type Branch, bestOf, type Made, pathTo } from './branch.js'
import type { LiveViewOptions } from './live-view.js'
import { milliseconds, seriesByName, value } from './numbers.js'
import { plain } from './text.js'

const PHASES = { propose: 'thinking …', act: 'acting …', evaluate: 'being evaluated …' } as const

export class Progress<A, O> {
  readonly branches: Map<number, Branch<A, O>> = new Map()
  readonly expansions: number
  readonly #describe: (action: A, observation: O | null) => string
  readonly #started = performance.now()
  /** Made by an earlier program: they say nothing of how fast this one is. */
  #earlier = 0

  constructor({ expansions, describe = (action) => JSON.stringify(action) }: LiveViewOptions<A, O>) {
    this.expansions = expansions
    this.#describe = describe
  }

  take(event: SearchEvent<A, O>): void {
    if (event.type === 'begun') this.#begin(event.tree)
    else if (event.type === 'selected') {
      for (const [index, id] of event.ids.entries()) this.#put(id, event.parents[index] ?? 0, undefined)
    } else if (event.type === 'phase') this.#setPhase(event.id, event.phase)
    else if (event.type === 'made') this.#put(event.outcome.id, event.outcome.parent, event.outcome)
    else if (event.type === 'node') this.#put(event.node.id, event.node.parent, event.node)
  }

  #begin(tree: SearchTree<A, O>): void {
    for (const node of tree.nodes) this.#put(node.id, node.parent, node)
    this.#earlier = this.done
  }

  #put(id: number, parent: number | null, made: Made<A, O> | undefined): void {
    this.branches.set(id, { id, parent, made, phase: undefined })
  }

  #setPhase(id: number, phase: Phase): void {
    const branch = this.branches.get(id)
    if (branch) this.branches.set(id, { ...branch, phase })
  }

  get made(): Made<A, O>[] {
    return [...this.branches.values()].flatMap(({ made, parent }) => (made && parent !== null ? [made] : []))
  }

  get done(): number {
    return this.made.length
  }

  get elapsedMs(): number {
    return performance.now() - this.#started
  }

  /** At most, as it may be found sooner; undefined while nothing tells. */
  get leftMs(): number | undefined {
    const done = this.done - this.#earlier
    return done > 0 ? (this.elapsedMs / done) * Math.max(0, this.expansions - this.done) : undefined
  }

  label({ id, parent, made, phase }: Branch<A, O>): string {
    if (parent === null) return 'the start'
    if (!made) return `${id} ${phase ? PHASES[phase] : '…'}`
    const { action, observation, error } = made
    const what = action === null ? 'nothing was proposed' : this.#describe(action, observation)
    return plain(`${id} ${what}${error === null ? '' : `: ${error}`}`)
  }

  /** What sandboxes cost beside all else. */
  get summary(): (readonly [name: string, text: string])[] {
    const times = seriesByName(this.made)
    const { goTo, goToHidden, rollback, checkpoint, checkpointHidden, blocking } = times
    const ms = milliseconds
    const hidden = ms(goToHidden.sum + checkpointHidden.sum)
    const still = `processes stood still ${ms(blocking.median)}`
    const best = bestOf(this.branches.values())
    const way = best ? pathTo(this.branches, best.id).slice(1) : []
    const found = typeof best?.made?.value === 'number' ? value(best.made.value) : '–'
    return [
      ['rollbacks', `median ${ms(rollback.median)}, at most ${ms(rollback.most)}`],
      ['checkpoints', `median ${ms(checkpoint.median)}, at most ${ms(checkpoint.most)}; ${still}`],
      ['hidden', `${hidden} of ${ms(goTo.sum + checkpoint.sum)} of both, while the model was thinking`],
      [
        'work',
        `thinking ${ms(times.propose.sum)}, acting ${ms(times.act.sum)}, evaluation ${ms(times.evaluate.sum)}`,
      ],
      ['best', `${found} by ${way.join(' → ') || 'none yet'}`],
    ]
  }

  get times(): string {
    return `${this.done} of ${this.expansions} steps, ${timesOf(this.elapsedMs, this.leftMs, 'at most ')}`
  }
}
