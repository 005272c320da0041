/** What every contender does: it keeps a state, and goes back to one. */
import type { Series } from '../results.js'
import { distinct, inOrderOfSystems } from './series.js'

export interface Events {
  readonly system: string
  readonly checkpoint: Series | undefined
  readonly restore: Series | undefined
}

/** The first that was measured is what users wait for. */
const RESTORES: readonly RegExp[] = [
  /^restore-answered$/,
  /^restore$/,
  /^rollback(-template)?-answered$/,
  /^rollback(-template)?$/,
  /^(restore|rollback)/,
]

export function eventsOf(all: readonly Series[]): Events[] {
  const systems = inOrderOfSystems(
    distinct(all, ({ system }) => system),
    (system) => system,
  )
  return systems
    .map((system) => {
      const its = all.filter((one) => one.system === system)
      return {
        system,
        checkpoint: its.find(({ operation }) => operation === 'checkpoint'),
        restore: RESTORES.map((wanted) => its.find(({ operation }) => wanted.test(operation))).find(Boolean),
      }
    })
    .filter(({ checkpoint, restore }) => checkpoint || restore)
}

/** Of sizes of the worker the one that all promises are about. */
const MEGABYTES = 50

export function ofTheWorker(baselines: readonly Series[]): Series[] {
  return baselines.filter(({ parameters }) => (parameters.megabytes ?? MEGABYTES) === MEGABYTES)
}
