/** A search as agents do it, on DeltaBox: what states cost is hidden behind the model wherever it can be. */
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { mcts, type SearchResult, treeSearch } from '@deltabox/search'
import type { Sandbox } from 'deltabox'
import { Asked } from '../inside/asked.js'
import { program } from '../programs.js'
import type { Samples } from '../recorder.js'
import type { Unit } from '../results.js'
import type { Bench, Sdk } from '../suite.js'
import { difference, type Told, type Trace, toldBy, traceOf } from './trace.js'

const SEED = 7
const INSIDE = '/opt/repository.py'

export interface Plan {
  readonly expansions: number
  /** Until the model has answered. */
  readonly waitMs: number
}

/** What belongs to the benchmark and not to what is measured. */
interface Checking {
  ms: number
  states: number
}

export async function search(
  { Sandbox }: Sdk,
  bench: Bench,
  plan: Plan,
  repository: string,
  workspace: string,
): Promise<Trace> {
  const series = (operation: string, timer: string, unit: Unit = 'ms'): Samples =>
    bench.record.samples({
      group: 'search',
      system: 'deltabox',
      ...{ operation, parameters: { repository }, unit, timer },
    })
  const box = await Sandbox.create({ workspace })
  await box.files.write(INSIDE, readFileSync(program('repository.py')))
  const worker = new Asked(await box.commands.start(['python3', INSIDE, workspace], { stdin: true }))
  const root = toldBy(await worker.ask('tell'))
  const checking = { ms: 0, states: 0 }
  const actions = series('action', 'from the question to the worker’s answer')
  const changed = series('memory-changed', 'what a checkpoint had to copy of the worker’s memory', 'bytes')
  const looking: Promise<void>[] = []
  const made = (checkpoint: string): void => {
    const looked = Sandbox.getCheckpoint(checkpoint)
    looking.push(
      looked.then(({ memoryBytes }) => changed.add(memoryBytes)).catch((error) => changed.fail(error)),
    )
  }
  const { tree, report, remove } = await searchIn(box, worker, { root, plan, actions, checking, made })
  await Promise.all(looking)
  if (report.failed > 0) throw new Error(JSON.stringify(report.failures))
  const { memoryBytes } = await box.stats()
  await remove()
  await box.kill({ checkpoints: true })
  recordTimes(series, tree)
  const needed = report.proposeMs + report.actMs + report.evaluateMs - checking.ms
  series(
    'overhead',
    `all of a search of ${plan.expansions} expansions with ${plan.waitMs} ms of the model in each / what model and actions took of it; what checking took is in neither`,
    'x',
  ).add((report.wallMs - checking.ms) / needed)
  bench.record.note(
    `${repository}: ${report.nodes} states, each of ${checking.states} begun with the worker’s memory and the files as recorded; ` +
      `rollbacks and checkpoints took ${(report.goToMs + report.checkpointMs).toFixed(0)} ms, ` +
      `${(report.goToHiddenMs + report.checkpointHiddenMs).toFixed(0)} of them while the model was waited for; ` +
      `${((memoryBytes ?? 0) / 2 ** 20).toFixed(0)} MiB in the first sandbox`,
  )
  return traceOf(root, tree.nodes.slice(1))
}

interface Search {
  readonly root: Told
  readonly plan: Plan
  readonly actions: Samples
  readonly checking: Checking
  readonly made: (checkpoint: string) => void
}

async function searchIn(
  box: Sandbox,
  worker: Asked,
  { root, plan, actions, checking, made }: Search,
): Promise<SearchResult<number, Told>> {
  const workers = new Map<string, Asked>()
  const inside = async (one: Sandbox): Promise<Asked> => {
    const known = workers.get(one.id) ?? (await worker.in(one))
    workers.set(one.id, known)
    return known
  }
  const tell = async (one: Asked): Promise<Told> => {
    const started = performance.now()
    try {
      return toldBy(await one.ask('tell'))
    } finally {
      checking.ms += performance.now() - started
    }
  }
  return await treeSearch<number, Told>({
    root: box,
    strategy: mcts({ branching: 3 }),
    budget: { expansions: plan.expansions },
    width: 4,
    concurrency: 1,
    seed: SEED,
    propose: async ({ random }) => {
      const action = random.below(2 ** 30)
      await delay(plan.waitMs)
      return action
    },
    act: async (one, action, { path, id }) => {
      const asked = await inside(one)
      checking.states += 1
      const wrong = difference(await tell(asked), path.at(-1)?.observation ?? root)
      if (wrong) throw new Error(`node ${id} begins with ${wrong}`)
      await actions.time(() => asked.ask('act', action))
      return await tell(asked)
    },
    judge: async ({ random }) => random.next(),
    onEvent: (event) => {
      if (event.type === 'made' && event.outcome.checkpoint !== null) made(event.outcome.checkpoint)
    },
  })
}

type Nodes = SearchResult<number, Told>['tree']

function recordTimes(series: (operation: string, timer: string) => Samples, tree: Nodes): void {
  const checkpoints = series('checkpoint', 'from the call of the SDK to its return')
  const blocking = series('checkpoint-blocking', 'how long the processes stand still, as the daemon tells')
  const rollbacks = series(
    'rollback',
    'from the call of the SDK to its return; worker and files are verified afterwards',
  )
  const waited = series(
    'waited-for',
    'of going to a state and keeping one, for each expansion: what was not hidden behind the model',
  )
  for (const { times } of tree.nodes.slice(1)) {
    checkpoints.add(times.checkpoint)
    blocking.add(times.blocking)
    // It is there already where it goes on from what it has just made.
    if (times.rollback > 0) rollbacks.add(times.rollback)
    waited.add(times.goTo - times.goToHidden + times.checkpoint - times.checkpointHidden)
  }
}
