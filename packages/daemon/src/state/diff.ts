/** What differs between two states of one family, told by their layers. */
import { DeltaBoxError, type Diff, type DiffQuery, type FileChange } from '@deltabox/protocol'
import type { EngineChange } from '../engine/messages.js'
import { openBase } from './base.js'
import { findCheckpoint } from './checkpoints.js'
import { explain } from './engine-errors.js'
import type { Family } from './families.js'
import { findSandbox } from './sandboxes.js'
import type { State } from './state.js'

const BASE = 'base'

/** What a reference stands for. The base is that of whatever it is compared with. */
interface Point {
  readonly id: string
  readonly family: string | undefined
  /** The top of its chain: the head of a sandbox, as it is written to. */
  readonly layer: string | null
}

export async function diffStates(state: State, { from = BASE, to }: DiffQuery): Promise<Diff> {
  const [a, b] = [findPoint(state, from), findPoint(state, to)]
  const family = commonFamily(a, b)
  return { from: a.id, to: b.id, changes: await compare(state, family, a, b) }
}

function findPoint(state: State, reference: string): Point {
  if (reference === BASE) return { id: BASE, family: undefined, layer: null }
  if (reference.startsWith('cp-')) return findCheckpoint(state, reference)
  const { id, family, head } = findSandbox(state, reference)
  return { id, family, layer: head }
}

function commonFamily(from: Point, to: Point): string {
  const family = to.family ?? from.family
  if (family === undefined) {
    throw new DeltaBoxError(
      'invalid_request',
      'from and to are both the base; one names a sandbox or checkpoint',
    )
  }
  if (from.family === undefined || to.family === undefined || from.family === to.family) return family
  throw new DeltaBoxError(
    'checkpoint_of_other_base',
    `cannot compare ${from.id} with ${to.id}: they do not descend from the same sandbox`,
    { details: { from: from.id, to: to.id } },
  )
}

/** The layers stay while they are compared: whatever ceases to need them meanwhile. */
function compare(state: State, family: string, from: Point, to: Point): Promise<FileChange[]> {
  const chains = [from.layer, to.layer].map((top) => state.store.layers.chain(top))
  const { workspace = null } = state.store.families.get(family)?.setup ?? {}
  return state.layers.holding(chains.flat(), () =>
    state.families.use(family, async (live) => {
      await openBase(state, live)
      const [a = [], b = []] = chains.map((chain) => chain.map((layer) => state.layers.directory(layer)))
      const changes: FileChange[] = []
      for (const [tree, root] of ['', workspace].entries()) {
        if (root === null) continue
        await layerChanges(live, { tree, from: a, to: b }, (change) => changes.push(shown(root, change)))
      }
      return changes.sort((one, other) => (one.path < other.path ? -1 : 1))
    }),
  )
}

async function layerChanges(
  family: Family,
  what: { tree: number; from: readonly string[]; to: readonly string[] },
  take: (change: EngineChange) => void,
): Promise<void> {
  try {
    await family.client.request('layers.diff', { base: family.id, ...what }, ({ changes }) =>
      changes.forEach(take),
    )
  } catch (error) {
    throw explain(error, 'layers.diff', 'compare two states')
  }
}

function shown(root: string, { kind, path, type, mode, uid, gid, size, before }: EngineChange): FileChange {
  const at = path.length > 0 || root === '' ? `${root}/${Buffer.from(path).toString('utf8')}` : root
  const old = before && factsOf(before)
  const was = old && { before: old }
  if (kind === 'D' || type === undefined) return { kind, path: at, type: old?.type ?? 'file', ...was }
  return { kind, path: at, ...factsOf({ type, mode, uid, gid, size }), ...was }
}

type Facts = NonNullable<FileChange['before']>

type Told = Pick<Facts, 'type'> & { readonly [Fact in keyof Facts]?: Facts[Fact] | undefined }

function factsOf({ type, mode = 0, uid = 0, gid = 0, size = 0 }: Told): Facts {
  return { type, mode, uid, gid, size }
}
