/** Rollbacks and forks need new cells. While nothing is asked of an engine, some are made ahead of the next. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Family } from './families.js'
import type { FamilySetup } from './family-table.js'

/** As many as forks take at a time, up to this. */
const MOST = 16
/** An engine does one thing at a time: whoever asked for the last thing goes on first, and may ask for the next. */
const PAUSE_MS = 5

/** Only cells with a network of their own are kept. */
type Setup = Pick<FamilySetup, 'net'>

interface Cells {
  wanted: number
  ready: number
}

export class WarmCells {
  readonly #log: Logger
  readonly #cells = new WeakMap<Family, Cells>()

  constructor(log: Logger) {
    this.#log = log
  }

  /** So many were just needed, and may be again. */
  used(family: Family | undefined, setup: Setup, count: number): void {
    if (!family || setup.net === 'host') return
    const cells = this.#cells.get(family)
    this.#prepare(family, {
      wanted: Math.min(MOST, Math.max(count, 1)),
      ready: Math.max(0, (cells?.ready ?? 0) - count),
    })
  }

  /** Somebody may want to go back here. */
  mayBeUsed(family: Family | undefined, setup: Setup): void {
    if (!family || setup.net === 'host') return
    const cells = this.#cells.get(family) ?? { wanted: 0, ready: 0 }
    if (cells.wanted === 0) this.#prepare(family, { ...cells, wanted: 1 })
  }

  #prepare(family: Family, cells: Cells): void {
    this.#cells.set(family, cells)
    this.#fill(family, cells).catch((error) => {
      if (family.client.lost) return
      this.#log.warn({ family: family.id, err: error }, 'no cells could be made ahead of need')
    })
  }

  /** One after the other, until it is told anew what is wanted. */
  async #fill(family: Family, cells: Cells): Promise<void> {
    while (cells.ready < cells.wanted) {
      await delay(PAUSE_MS)
      if (this.#cells.get(family) !== cells || family.client.lost) return
      cells.ready = (await family.client.request('cells.warm', { count: cells.ready + 1 })).count
    }
  }
}
