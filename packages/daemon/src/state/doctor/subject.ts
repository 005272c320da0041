/** What is looked at: a store with its files, of a daemon that runs or of none. */
import type { StoreProblem } from '@deltabox/protocol'
import { ImageStore } from '../../deltacr/image-store.js'
import { LayerStore } from '../../deltafs/layer-store.js'
import { startTicks } from '../../engine/launch.js'
import type { State } from '../state.js'

/** Of the daemon whose store it is; what changes while the store is looked at is no problem. */
export type Running = Pick<State, 'families' | 'images' | 'writer' | 'upkeep' | 'stopping'>

export interface Subject extends Pick<State, 'paths' | 'store'> {
  readonly config: Pick<State['config'], 'enginePath'>
  readonly layerStore: LayerStore
  readonly imageStore: ImageStore
  /** Undefined where no daemon runs. Engines may. */
  readonly running: Running | undefined
}

/** A problem, and what puts it right. */
export interface Finding extends Omit<StoreProblem, 'check' | 'repaired'> {
  /** Once it is done the problem is there no more; it throws what keeps it from that. */
  readonly repair?: () => Promise<void>
}

export interface Examination {
  readonly name: string
  /** What was looked at. */
  readonly detail: string
  readonly findings: readonly Finding[]
}

export function subjectOf(
  whole: Pick<State, 'paths' | 'store'> & Pick<Subject, 'config'>,
  running: Running | undefined,
): Subject {
  const { families } = whole.paths
  return { ...whole, layerStore: new LayerStore(families), imageStore: new ImageStore(families), running }
}

/** Whether the family's engine runs, with or without a daemon. */
export async function hasEngine({ store, running }: Subject, family: string): Promise<boolean> {
  if (running) return running.families.get(family) !== undefined
  const row = store.families.get(family)
  return row?.pid != null && (await startTicks(row.pid)) === row.startTicks
}
