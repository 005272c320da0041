/**
 * A search as agents do it: 30 expansions over a repository, with a worker that holds an index of all of it in memory, and a model
 * that takes a second for each answer. What the states cost is what is left of the time when models and actions are taken off.
 *
 *   npm run bench:search -- [--short] [--json] [--wait MS] [--concurrency N] [REPOSITORY…]
 */
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { mcts, type SearchResult, treeSearch } from '@deltabox/search'
import type { Sandbox } from 'deltabox'
import { Asked } from '../tests/cr/support/asked.js'
import { Promises, print, type Row, summary, withOwnDaemon } from './measure.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    short: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    wait: { type: 'string' },
    concurrency: { type: 'string', default: '1' },
  },
})
const EXPANSIONS = values.short ? 10 : 30
const WAIT_MS = Number(values.wait ?? (values.short ? 200 : 1000))
const SEED = 7

/** Python's own modules are there without a network. */
const FALLBACK = '/usr/lib/python3.11'
const program = new URL('../tests/cr/programs/worker.py', import.meta.url)

const rows: Row[] = []
const notes: string[] = []
const skipped: string[] = []
const promises = new Promises(values.short ? 5 : 1)

function repositories(): string[] {
  if (positionals.length > 0) return positionals
  if (!values.short)
    skipped.push('Django and SymPy: fetch them (scripts/fetch-source.sh) and name their directories')
  return [FALLBACK].filter((directory) => existsSync(directory))
}

interface Told {
  readonly state: string
}

/** Times that belong to the benchmark and not to what is measured. */
interface Checking {
  ms: number
  rollbacks: number
}

async function searchIn(
  box: Sandbox,
  worker: Asked,
  checking: Checking,
): Promise<SearchResult<number, Told>> {
  const told = await worker.ask('tell')
  const workers = new Map<string, Asked>()
  const inside = async (one: Sandbox): Promise<Asked> => {
    const known = workers.get(one.id) ?? (await worker.in(one))
    workers.set(one.id, known)
    return known
  }
  const tell = async (one: Asked): Promise<string> => {
    const started = performance.now()
    try {
      return await one.ask('tell')
    } finally {
      checking.ms += performance.now() - started
    }
  }
  return await treeSearch<number, Told>({
    root: box,
    strategy: mcts({ branching: 3 }),
    budget: { expansions: EXPANSIONS },
    width: 4,
    concurrency: Number(values.concurrency),
    seed: SEED,
    propose: async ({ random }) => {
      const action = random.below(2 ** 30)
      await delay(WAIT_MS)
      return action
    },
    act: async (one, action, { path: line, id }) => {
      const asked = await inside(one)
      const should = line.at(-1)?.observation?.state ?? told
      checking.rollbacks += 1
      if ((await tell(asked)) !== should)
        throw new Error(`node ${id} begins in another state than its parent ended in`)
      await asked.ask('act', action)
      return { state: await tell(asked) }
    },
    judge: async ({ random }) => random.next(),
  })
}

async function measure(sdk: typeof import('deltabox'), repository: string): Promise<void> {
  const workspace = path.join(mkdtempSync(path.join(tmpdir(), 'dbb-search-')), path.basename(repository))
  cpSync(repository, workspace, { recursive: true, filter: (file) => !file.endsWith('.pyc') })
  try {
    const box = await sdk.Sandbox.create({ workspace })
    await box.files.write('/opt/worker.py', readFileSync(program))
    const worker = new Asked(
      await box.commands.start(['python3', '/opt/worker.py', workspace], { stdin: true }),
    )
    const checking = { ms: 0, rollbacks: 0 }
    const { tree, report } = await searchIn(box, worker, checking)
    if (report.failed > 0) throw new Error(JSON.stringify(report.failures))
    add(path.basename(repository), tree, report, checking)
    const { memoryBytes } = await box.stats()
    notes.push(
      `${path.basename(repository)}: ${report.nodes} states, every one of ${checking.rollbacks} begun with the worker's memory and the files as recorded; ` +
        `checking took ${(checking.ms / 1000).toFixed(1)} s, which no figure has; ${((memoryBytes ?? 0) / 2 ** 20).toFixed(0)} MiB in the first sandbox`,
    )
    await box.kill({ checkpoints: true })
  } finally {
    rmSync(path.dirname(workspace), { recursive: true, force: true })
  }
}

function add(
  name: string,
  tree: SearchResult['tree'],
  report: SearchResult['report'],
  checking: Checking,
): void {
  const nodes = tree.nodes.slice(1)
  const rollbacks = nodes.map(({ times }) => times.rollback).filter((ms) => ms > 0)
  rows.push(
    summary(`${name}: rollback (call to return)`, rollbacks),
    summary(
      `${name}: checkpoint (call to return)`,
      nodes.map(({ times }) => times.checkpoint),
    ),
    summary(
      `${name}: checkpoint (processes stand still)`,
      nodes.map(({ times }) => times.blocking),
    ),
    summary(
      `${name}: action`,
      nodes.map(({ times }) => times.act),
    ),
  )
  const needed = report.proposeMs + report.actMs + report.evaluateMs - checking.ms
  const hidden = report.goToHiddenMs + report.checkpointHiddenMs
  const all = report.goToMs + report.checkpointMs
  notes.push(
    `${name}: ${rollbacks.length} rollbacks and ${nodes.length} checkpoints took ${all.toFixed(0)} ms, ${hidden.toFixed(0)} of them while the model was waited for`,
  )
  if (values.concurrency !== '1') {
    notes.push(
      `${name}: ${(report.wallMs / 1000).toFixed(1)} s with ${values.concurrency} at a time; one after the other ${(needed / 1000).toFixed(1)} s of models and actions`,
    )
    return
  }
  const ratio = (report.wallMs - checking.ms) / needed
  rows.push(promises.compare('search-overhead', `${name}: all of it / models and actions`, ratio))
}

await withOwnDaemon(async (sdk) => {
  for (const repository of repositories()) await measure(sdk, repository)
})
print({ rows, notes, skipped })
promises.conclude()
