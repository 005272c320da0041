/**
 * The same search without checkpoints, in the cheapest way that comes to the same states. All is in one sandbox, which is never taken back.
 * To be in a node's state again: the tree of files is replaced by a copy of the one as it was written, the server is started anew, customers put
 * again what they had put, and the actions on the way are done again, but for those that only look. To keep a state costs nothing. Models are
 * not asked again: how long they thought is known, and getting ready while they think counts as hidden here as well.
 */
import { progressBar, type SearchTree } from '@deltabox/search'
import type { Sandbox } from 'deltabox'
import { type Action, HOME, perform, run } from './actions.js'
import { evaluate, install, open } from './problem.js'

export interface Replayed {
  /** Per node: what it took to be in its parent's state, and what of it would not have been waited for. */
  readonly nodes: readonly { readonly id: number; readonly backMs: number; readonly hiddenMs: number }[]
  /** How many came to the same value as in the search. */
  readonly same: number
}

const PRISTINE = '/srv/pristine'

export async function copyAndReplay(
  tree: SearchTree<Action, string>,
  signal: AbortSignal,
): Promise<Replayed> {
  const box = await install('copy-and-replay')
  await run(box, ['cp', '-a', HOME, PRISTINE])
  const made = tree.nodes.filter(({ action }) => action !== null)
  const nodes: Replayed['nodes'][number][] = []
  const progress = progressBar({ title: 'copy + replay', total: made.length })
  let same = 0
  for (const { id, parent, action, value, times } of made) {
    signal.throwIfAborted()
    if (action === null) continue
    const started = performance.now()
    await goTo(
      box,
      tree.path(tree.node(parent ?? 0)).flatMap((node) => node.action ?? []),
    )
    const backMs = performance.now() - started
    await perform(box, action)
    if ((await evaluate(box)) === value) same++
    nodes.push({ id, backMs, hiddenMs: Math.min(backMs, times.propose) })
    progress.update(nodes.length)
  }
  progress.close()
  return { nodes, same }
}

async function goTo(box: Sandbox, actions: readonly Action[]): Promise<void> {
  const fresh = `kill -KILL $(cat shelf.pid 2>/dev/null) 2>/dev/null; cd /; rm -rf ${HOME}; cp -a ${PRISTINE} ${HOME}`
  await run(box, ['sh', '-c', fresh])
  await open(box)
  for (const action of actions) if (action.tool !== 'view') await perform(box, action)
}
