/** What a family's sandboxes start from, mounted once by its engine. */
import { planSeed } from '../deltafs/seed.js'
import { EngineError } from '../engine/client.js'
import type { Seed } from '../engine/messages.js'
import { explain } from './engine-errors.js'
import type { Family } from './families.js'
import type { FamilySetup } from './family-table.js'
import type { State } from './state.js'

/** Of the host as it is now: what has become secret since the family began is hidden too. */
export function planBase(state: State, setup: FamilySetup): Promise<Seed> {
  const { base, workspace, hostname, net, masks } = setup
  const ownDirectories = [state.paths.dataDir, state.paths.runDir]
  return planSeed({ base, workspace, hostname, net, masks, ownDirectories })
}

/** Opens it unless it is open. Gives the engine's microseconds per step. */
export async function openBase(
  state: State,
  family: Family,
  plan?: Seed,
): Promise<Readonly<Record<string, number>>> {
  const opening = family.base ?? open(state, family, plan)
  family.base = opening
  try {
    return await opening
  } catch (error) {
    if (family.base === opening) family.base = undefined
    throw error
  }
}

async function open(
  state: State,
  family: Family,
  plan: Seed | undefined,
): Promise<Readonly<Record<string, number>>> {
  const setup = state.store.families.get(family.id)?.setup
  if (!setup) throw new Error(`family ${family.id} has no base yet`)
  const { base: source, workspace } = setup
  try {
    const { timings } = await family.client.request('base.open', {
      base: family.id,
      dir: state.families.baseDirectory(family.id),
      busy: state.families.busyDirectories(family.id),
      stock: state.families.stockDirectory(family.id),
      source,
      seed: plan ?? (await planBase(state, setup)),
      volumes: workspace === null ? [] : [{ path: workspace, source: workspace }],
    })
    return timings
  } catch (error) {
    // By an earlier daemon.
    if (error instanceof EngineError && error.code === 'exists') return {}
    throw explain(error, 'base.open', `start from ${source}`)
  }
}

/** How many trees of files each layer of the family has: the root's, and the workspace's. */
export function treesOf({ workspace }: Pick<FamilySetup, 'workspace'>): number {
  return workspace === null ? 1 : 2
}
