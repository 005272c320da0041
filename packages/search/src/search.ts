/** Tree search in sandboxes: choose nodes, make a child of each, learn what they are worth, and again. */
import { setMaxListeners } from 'node:events'
import { Checkpoint, Client, Sandbox } from 'deltabox'
import { Beside } from './beside.js'
import { type Expanded, expand } from './expand.js'
import { Forks, StateLostError } from './forks.js'
import { headOf, Journal, readJournal } from './journal.js'
import type { SearchEvent, SearchOptions, SearchResult } from './options.js'
import { Random, seedFor } from './random.js'
import { reportOf, usageOf } from './report.js'
import {
  type Batch,
  checkpointsOf,
  clearUp,
  findCheckpoint,
  isComplete,
  type Left,
  outcomesOf,
  replay,
  settle,
} from './resume.js'
import { NO_TIMES, NO_USAGE, type Outcome, SearchTree } from './tree.js'
import { Workers } from './workers.js'

const DEFAULT_WIDTH = 4
const DEFAULT_SEED = 1

export async function treeSearch<Action, Observation>(
  options: SearchOptions<Action, Observation>,
): Promise<SearchResult<Action, Observation>> {
  const search = await Search.open(options)
  let result: SearchResult<Action, Observation>
  try {
    result = await search.run()
  } catch (error) {
    // What is left is found by the next program that goes on, if this cannot be tidied now.
    await search.close().catch(() => undefined)
    throw error
  }
  await search.close()
  return result
}

type Reason = SearchResult['reason']

interface Begun<A, O> extends Pick<Left<A, O>, 'tree' | 'batches'> {
  readonly isOwn: boolean
}

class Search<A, O> {
  readonly #options: SearchOptions<A, O>
  readonly #client: Client
  readonly #journal: Journal
  readonly #tree: SearchTree<A, O>
  readonly #workers: Workers
  readonly #beside: Beside
  readonly #signal: AbortSignal
  readonly #started = performance.now()
  /** The checkpoints that are being taken, or were, by node. */
  readonly #keeping = new Map<number, Promise<void>>()
  /** What was chosen, by an earlier program for instance, and is not all made. */
  readonly #left: Batch<A, O>[]
  /** The root was taken for it. */
  readonly #isOwn: boolean

  private constructor(
    options: SearchOptions<A, O>,
    journal: Journal,
    workers: Workers,
    { tree, batches, isOwn }: Begun<A, O>,
  ) {
    this.#options = options
    this.#client = options.client ?? Client.default()
    this.#journal = journal
    this.#workers = workers
    this.#tree = tree
    this.#left = batches
    this.#isOwn = isOwn
    this.#beside = new Beside(this.#client)
    this.#signal = options.signal ?? new AbortController().signal
    // Each step that is under way listens.
    setMaxListeners(0, this.#signal)
  }

  static async open<A, O>(options: SearchOptions<A, O>): Promise<Search<A, O>> {
    const { file, client = Client.default() } = options
    const left = file === undefined ? undefined : await goOn<A, O>(file, options)
    if (left) await clearUp(left, client)
    const isOwn = left ? left.head.isOwn : !(options.root instanceof Checkpoint)
    const root = left ? await rootOf(left, client) : await takeRoot(options.root)
    try {
      const journal = await Journal.open(file)
      if (!left) await journal.write(headOf({ root: root.id, isOwn, ...identityOf(options) }))
      const forks = new Forks(root, (sandboxes) => journal.write({ kind: 'workers', sandboxes }))
      const workers = await Workers.open(forks, options.concurrency ?? 1)
      const begun = left ?? { tree: SearchTree.rooted<A, O>(root.id), batches: [] }
      return new Search(options, journal, workers, { ...begun, isOwn })
    } catch (error) {
      if (!left && isOwn) await root.delete()
      throw error
    }
  }

  async run(): Promise<SearchResult<A, O>> {
    this.#tell({ type: 'begun', tree: this.#tree })
    let reason = this.#whyOver()
    while (!reason) {
      const batch = this.#left.shift() ?? (await this.#select())
      if (batch) await this.#make(batch)
      reason = batch ? this.#whyOver() : 'exhausted'
      if (batch) await this.#dropUnneeded(this.#options.keep === 'all' ? 'nothing' : 'unselectable')
    }
    await Promise.all(this.#keeping.values())
    if (this.#options.keep === 'best' && reason !== 'aborted') await this.#dropUnneeded('all but the best')
    return this.#result(reason)
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#keeping.values())
    await this.#beside.settled()
    await this.#workers.close(this.#held())
    await this.#journal.close()
  }

  /** The checkpoints that are known; others were taken when the daemon ended before it could tell. */
  #held(): Set<string> {
    const nodes = this.#tree.nodes.filter(({ dropped }) => !dropped)
    return checkpointsOf([...nodes, ...outcomesOf(this.#left)])
  }

  /** Undefined while it is not. */
  #whyOver(): Reason | undefined {
    const { budget, stopAt } = this.#options
    if (this.#signal.aborted) return 'aborted'
    if (this.#left.length > 0) return undefined
    const worth = this.#tree.best()?.value ?? Number.NEGATIVE_INFINITY
    if (stopAt !== undefined && worth >= stopAt) return 'found'
    const { inputTokens, outputTokens } = usageOf(this.#tree as SearchTree)
    const tokens = inputTokens + outputTokens
    const isSpent =
      this.#tree.nodes.length - 1 >= budget.expansions ||
      performance.now() - this.#started >= (budget.ms ?? Number.POSITIVE_INFINITY) ||
      tokens >= (budget.tokens ?? Number.POSITIVE_INFINITY)
    return isSpent ? 'budget' : undefined
  }

  async #select(): Promise<Batch<A, O> | undefined> {
    const { strategy, budget, width = DEFAULT_WIDTH, seed = DEFAULT_SEED } = this.#options
    const first = this.#tree.nodes.length
    const count = Math.min(width, budget.expansions - (first - 1))
    const selected = strategy.select(this.#tree as SearchTree, count, new Random(seedFor(seed, -first)))
    if (selected.length === 0) return undefined
    const parents = selected.slice(0, count).map(({ id }) => id)
    await this.#journal.write({ kind: 'selected', first, parents })
    this.#tell({ type: 'selected', ids: parents.map((_, index) => first + index), parents })
    return { first, parents, outcomes: new Map() }
  }

  /** The states that may be wanted after these are brought into memory meanwhile, if they have been put out of it. */
  #prefetch({ parents }: Batch<A, O>): void {
    const { strategy, width = DEFAULT_WIDTH } = this.#options
    const likely = this.#tree.nodes
      .filter((node) => !node.dropped && !parents.includes(node.id))
      .filter((node) => strategy.mayBeSelected(this.#tree as SearchTree, node as SearchTree['root']))
      .sort((a, b) => (b.value ?? 0) - (a.value ?? 0) || b.id - a.id)
    for (const { checkpoint } of likely.slice(0, width)) {
      if (checkpoint !== null) this.#beside.prefetch(checkpoint)
    }
  }

  /** What is missing of it. All that was begun is ended, or given up by the signal, before the next is chosen. */
  async #make(batch: Batch<A, O>): Promise<void> {
    const missing = batch.parents
      .map((_, index) => batch.first + index)
      .filter((id) => !batch.outcomes.has(id))
    this.#prefetch(batch)
    const made = await Promise.allSettled(missing.map((id) => this.#makeOne(batch, id)))
    if (this.#signal.aborted) {
      this.#left.unshift(batch)
      return
    }
    const failed = made.find((one): one is PromiseRejectedResult => one.status === 'rejected')
    if (failed) throw failed.reason
    if (isComplete(batch)) settle(this.#tree, batch)
    for (const index of batch.parents.keys()) {
      this.#tell({ type: 'node', node: this.#tree.node(batch.first + index) })
    }
  }

  async #makeOne(batch: Batch<A, O>, id: number): Promise<void> {
    const { outcome, keeping } = await this.#expand(batch, id)
    batch.outcomes.set(id, outcome)
    if (!keeping) {
      await this.#journal.write({ kind: 'node', outcome })
      this.#tell({ type: 'made', outcome })
      return
    }
    const kept = this.#keep(batch, outcome, keeping)
    this.#keeping.set(id, kept)
    // Whoever expands the node waits for it, and so does the end.
    kept.catch(() => undefined)
  }

  /** The node counts before its checkpoint is there; it is written down afterwards. */
  async #keep(
    batch: Batch<A, O>,
    outcome: Outcome<A, O>,
    keeping: NonNullable<Expanded<A, O>['keeping']>,
  ): Promise<void> {
    const { id } = outcome
    try {
      const { checkpoint, ms, hiddenMs, blockingMs } = await keeping
      const times = { ...outcome.times, checkpoint: ms, checkpointHidden: hiddenMs, blocking: blockingMs }
      const whole = { ...outcome, checkpoint, times }
      await this.#journal.write({ kind: 'node', outcome: whole })
      this.#complete(batch, whole)
      this.#tell({ type: 'made', outcome: whole })
    } catch (error) {
      if (this.#signal.aborted) {
        batch.outcomes.delete(id)
        return
      }
      const failed = failedOutcome(outcome, error as Error)
      await this.#journal.write({ kind: 'node', outcome: failed })
      if (this.#tree.nodes.length > id) this.#tree.lose(id, failed.error ?? '')
      else batch.outcomes.set(id, failed)
      this.#tell({ type: 'made', outcome: failed })
    }
  }

  #complete(batch: Batch<A, O>, { id, checkpoint, times, ...rest }: Outcome<A, O>): void {
    if (this.#tree.nodes.length > id) Object.assign(this.#tree.node(id), { checkpoint, times })
    else batch.outcomes.set(id, { ...rest, id, checkpoint, times })
  }

  async #expand({ first, parents }: Batch<A, O>, id: number): Promise<Expanded<A, O>> {
    const { seed = DEFAULT_SEED } = this.#options
    const parent = this.#tree.node(parents[id - first] ?? 0)
    const earlier = parents.slice(0, id - first).filter((other) => other === parent.id).length
    const context = {
      id,
      path: this.#tree.path(parent),
      siblings: this.#tree.children(parent),
      index: parent.children.length + earlier,
      random: new Random(seedFor(seed, id)),
    }
    const from = async (): Promise<string> => {
      await this.#keeping.get(parent.id)
      if (parent.checkpoint === null) throw new StateLostError(parent.error ?? 'it has no checkpoint')
      return parent.checkpoint
    }
    const tell = (event: SearchEvent<A, O>): void => this.#tell(event)
    try {
      const own = { steps: this.#options, workers: this.#workers, signal: this.#signal }
      return await expand({ ...own, context, from, tell })
    } catch (error) {
      if (!(error instanceof StateLostError)) throw error
      if (parent.status !== 'failed') await this.#lose(parent.id, error.message)
      const outcome = { id, parent: parent.id, ...NOTHING, times: NO_TIMES, usage: NO_USAGE }
      return { outcome: failedOutcome(outcome, error), keeping: undefined }
    }
  }

  async #lose(node: number, reason: string): Promise<void> {
    this.#tree.lose(node, reason)
    await this.#journal.write({ kind: 'lost', node, reason })
  }

  /** Removed beside whatever comes next. */
  async #dropUnneeded(which: 'nothing' | 'unselectable' | 'all but the best'): Promise<void> {
    if (which === 'nothing') return
    const best = this.#tree.best()
    const { strategy } = this.#options
    const isNeeded = (node: SearchTree['root']): boolean =>
      which === 'unselectable' && strategy.mayBeSelected(this.#tree as SearchTree, node)
    const going = this.#tree.nodes.filter(
      (node) =>
        node.checkpoint !== null &&
        !node.dropped &&
        node.parent !== null &&
        node !== best &&
        !isNeeded(node as SearchTree['root']),
    )
    if (going.length === 0) return
    for (const node of going) node.dropped = true
    const ids = going.map(({ id }) => id)
    await this.#journal.write({ kind: 'dropped', nodes: ids })
    this.#beside.remove(going.flatMap(({ checkpoint }) => checkpoint ?? []))
    this.#tell({ type: 'dropped', ids })
  }

  /** The youngest first: nobody stands on these. */
  async #remove(): Promise<void> {
    const going = this.#tree.nodes.filter((node) => !node.dropped && (this.#isOwn || node.parent !== null))
    for (const node of going) node.dropped = true
    this.#beside.remove(going.flatMap(({ checkpoint }) => checkpoint ?? []).reverse())
    await this.#beside.settled()
  }

  #tell(event: SearchEvent<A, O>): void {
    this.#options.onEvent?.(event)
  }

  #report(): SearchResult['report'] {
    return reportOf(this.#tree as SearchTree, performance.now() - this.#started)
  }

  #result(reason: Reason): SearchResult<A, O> {
    const client = this.#client
    return {
      tree: this.#tree,
      best: this.#tree.best(),
      reason,
      report: this.#report(),
      async fork({ id, checkpoint }, count = 1) {
        if (checkpoint === null) throw new Error(`node ${id} has no state to fork`)
        return await (await Sandbox.getCheckpoint(checkpoint, { client })).fork(count)
      },
      remove: () => this.#remove(),
    }
  }
}

async function takeRoot(root: Sandbox | Checkpoint): Promise<Checkpoint> {
  return root instanceof Checkpoint ? root : await root.checkpoint('root of a search')
}

function identityOf<A, O>({
  strategy,
  seed = DEFAULT_SEED,
  width = DEFAULT_WIDTH,
}: SearchOptions<A, O>): {
  strategy: string
  seed: number
  width: number
} {
  return { strategy: strategy.name, seed, width }
}

/** Undefined where there is nothing yet. */
async function goOn<A, O>(file: string, options: SearchOptions<A, O>): Promise<Left<A, O> | undefined> {
  const lines = await readJournal(file)
  if (!lines) return undefined
  const left = replay<A, O>(lines as Parameters<typeof replay<A, O>>[0])
  for (const [name, wanted] of Object.entries(identityOf(options))) {
    const is = left.head[name as keyof ReturnType<typeof identityOf>]
    if (is !== wanted) throw new Error(`${file} has a search with ${name} ${is}, not ${wanted}`)
  }
  return left
}

async function rootOf<A, O>({ head }: Left<A, O>, client: Client): Promise<Checkpoint> {
  const root = await findCheckpoint(head.root, client)
  if (!root) throw new Error(`the search’s root ${head.root} is not there any more`)
  return root
}

const NOTHING = { action: null, observation: null, checkpoint: null, value: null } as const

function failedOutcome<A, O>(outcome: Omit<Outcome<A, O>, 'status' | 'error'>, error: Error): Outcome<A, O> {
  return { ...outcome, checkpoint: null, value: null, status: 'failed', error: error.message || 'it failed' }
}
