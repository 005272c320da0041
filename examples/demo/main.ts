/**
 * A search for a bug by a model that is often wrong, in sandboxes that go back to any earlier state, processes and all; then the same search
 * without checkpoints. DELTABOX_DEMO_WAITS scales how long the script thinks that stands in for a model where no
 * key for one is set (ANTHROPIC_API_KEY, OPENAI_API_KEY, with DELTABOX_DEMO_MODEL for another than the usual); DELTABOX_DEMO_REPORT is the file of
 * the page that tells of it.
 */
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { htmlReport, liveView, mcts, type SearchResult, treeSearch } from '@deltabox/search'
import type { Sandbox } from 'deltabox'
import { type Action, describe } from './actions.js'
import { asText, compare } from './comparison.js'
import { copyAndReplay } from './copy-and-replay.js'
import { chooseModel } from './model.js'
import { withOwnDaemon } from './own-daemon.js'
import { patchOf } from './patch.js'
import { install, open, steps } from './problem.js'
import { wrapped } from './wrapped.js'

const EXPANSIONS = 60
const waits = Number(process.env.DELTABOX_DEMO_WAITS || 1)
const page = process.env.DELTABOX_DEMO_REPORT || path.join(tmpdir(), 'deltabox-demo.html')
const model = await chooseModel(waits)

const INTRODUCTION = `A catalogue that is served over HTTP has a bug: customers see old prices. Its source, its tests and the
server that runs are in a sandbox. What to do is proposed by ${model.name}; MCTS decides where to go on. Every state is a
checkpoint, the server and its memory included. What a state is worth is told by tests that are hidden from the agent, and by
requests to the server; what they do to it is put back.`

type Found = SearchResult<Action, string>

const say = (text: string): void => console.log(text)

async function demo(signal: AbortSignal): Promise<void> {
  say(`${wrapped(INTRODUCTION)}\n`)
  const root = await install('shelf')
  await open(root)
  const result = await search(root, signal)
  signal.throwIfAborted()
  const patch = await tellFound(result, root)

  say('Now the same without checkpoints: to be in a state, all that led there is done again.\n')
  const compared = compare(result.tree, await copyAndReplay(result.tree, signal))
  say(asText(compared))
  await writeFile(page, htmlReport(result, { title: 'DeltaBox demo', describe, patch, tables: [compared] }))
  say(`\nThe tree, to look around in: ${page}`)
}

async function search(root: Sandbox, signal: AbortSignal): Promise<Found> {
  const view = liveView<Action, string>({ expansions: EXPANSIONS, title: 'the search', describe })
  signal.addEventListener('abort', () => view.note('Stopping, and removing everything.'))
  try {
    return await treeSearch<Action, string>({
      ...{ root, ...steps(model), strategy: mcts({ maxDepth: 8, exploration: 0.15 }) },
      ...{ budget: { expansions: EXPANSIONS }, stopAt: 1, keep: 'all', width: 2 },
      ...{ signal, onEvent: view.onEvent },
    })
  } finally {
    view.close()
  }
}

/** Gives the patch of the best. */
async function tellFound({ best, tree, fork }: Found, root: Sandbox): Promise<string> {
  if (!best) throw new Error('no state is worth anything')
  const way = tree.path(best).flatMap(({ id, action }) => (action ? [`  ${id} ${describe(action)}`] : []))
  const patch = await patchOf(await fork(best), root)
  say(`\n${best.value === 1 ? 'Found:' : 'Not found; the nearest to it:'}\n${way.join('\n')}\n\n${patch}`)
  return patch
}

process.exitCode = await withOwnDaemon(demo)
