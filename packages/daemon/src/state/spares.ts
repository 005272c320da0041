/**
 * Rollbacks and forks need new cells, and in them the processes of a checkpoint and its files. While nothing is asked of an engine it
 * makes some ahead of the next: here is decided how many, and of which checkpoints.
 */
import type { Logger } from 'pino'
import type { Wanted } from '../engine/messages.js'
import type { CheckpointRow } from './checkpoint-table.js'
import { limitsOf } from './create.js'
import type { Family } from './families.js'
import type { FamilySetup } from './family-table.js'

/** As many as forks take at a time, up to this. */
const MOST = 64
/** That somebody went back to last, or may go back to. */
const MOST_STATES = 8
/** A checkpoint with more processes is made ready once it was gone back to, not before. */
const FEW_PROCESSES = 4
/** What was not used for so long is given back. */
const KEEP_MS = 60_000

type Setup = Pick<FamilySetup, 'net' | 'memoryBytes' | 'pids' | 'cpus'>

/** The processes of a checkpoint, for a rollback of the sandbox or for new ones. */
type Standing = Omit<Wanted, 'count'>

interface Wish {
  /** Cells alone. */
  cells: number
  /** The latest first. */
  states: readonly Wanted[]
  end: NodeJS.Timeout | undefined
}

export class Spares {
  readonly #log: Logger
  readonly #wishes = new WeakMap<Family, Wish>()

  constructor(log: Logger) {
    this.#log = log
  }

  /** So many were just needed, and may be again. Null: cells alone. */
  used(family: Family | undefined, setup: Setup, state: Standing | null, count: number): void {
    this.#want(family, setup, (wish) => {
      if (state === null) wish.cells = Math.min(MOST, count)
      else remember(wish, state, count)
    })
  }

  /** Somebody may want to go back here. */
  mayBeUsed(
    family: Family | undefined,
    setup: Setup,
    { sandbox, image, processes }: Pick<CheckpointRow, 'sandbox' | 'image' | 'processes'>,
  ): void {
    this.#want(family, setup, (wish) => {
      if (image !== null && processes <= FEW_PROCESSES) remember(wish, { image, sandbox }, 1)
    })
  }

  #want(family: Family | undefined, setup: Setup, change: (wish: Wish) => void): void {
    if (!family || setup.net === 'host') return
    const wish = this.#wishes.get(family) ?? { cells: 1, states: [], end: undefined }
    this.#wishes.set(family, wish)
    change(wish)
    this.#ask(family, setup, wish)
    clearTimeout(wish.end)
    wish.end = setTimeout(() => this.#relax(family, setup), KEEP_MS).unref()
  }

  #relax(family: Family, setup: Setup): void {
    this.#wishes.delete(family)
    if (!family.client.lost) this.#ask(family, setup, { cells: 1, states: [] })
  }

  #ask(family: Family, setup: Setup, { cells, states }: Pick<Wish, 'cells' | 'states'>): void {
    let room = MOST - cells
    const images = states.map((state): Wanted => {
      const count = Math.min(room, state.count)
      room -= count
      return { ...state, count }
    })
    family.client.request('cells.warm', { count: cells, images, limits: limitsOf(setup) }).catch((error) => {
      if (family.client.lost) return
      this.#log.warn({ family: family.id, err: error }, 'no cells can be made ahead of need')
    })
  }
}

function remember(wish: Wish, state: Standing, count: number): void {
  const isSame = (other: Wanted): boolean => other.image === state.image && other.sandbox === state.sandbox
  const before = wish.states.find(isSame)?.count ?? 0
  const others = wish.states.filter((other) => !isSame(other))
  wish.states = [{ ...state, count: Math.max(before, count) }, ...others].slice(0, MOST_STATES)
}
