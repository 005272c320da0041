/** What engines keep of checkpoints in memory is bounded: what was not used for longest goes, once it is on disk. */
import type { Logger } from 'pino'
import { EngineError, EngineLostError } from '../engine/client.js'
import type { Afterwards } from './afterwards.js'
import type { Families } from './families.js'
import type { ImageRow } from './image-table.js'
import type { Metrics } from './metrics.js'
import { Rounds } from './rounds.js'
import type { Store } from './store.js'

export interface PoolLimits {
  readonly bytes: number
  readonly count: number
}

interface PoolNeeded {
  readonly log: Logger
  readonly store: Store
  readonly families: Families
  readonly metrics: Metrics
  readonly afterwards: Afterwards
  readonly limits: PoolLimits
}

export class Pool {
  readonly #needed: PoolNeeded
  readonly #held = new Map<string, number>()
  /** The last that was asked of an engine, of each image that is going. */
  readonly #going = new Map<string, Promise<void>>()
  readonly #shrinking: Rounds

  constructor(needed: PoolNeeded) {
    this.#needed = needed
    this.#shrinking = new Rounds(
      () => this.shrinkTo(needed.limits),
      (error) => needed.log.error({ err: error }, 'more is kept in memory than is to be'),
    )
  }

  /** It stays in memory meanwhile. */
  async holding<T>(id: string, work: () => Promise<T>): Promise<T> {
    this.#held.set(id, (this.#held.get(id) ?? 0) + 1)
    try {
      await this.#going.get(id)
      return await work()
    } finally {
      const left = (this.#held.get(id) ?? 1) - 1
      if (left > 0) this.#held.set(id, left)
      else this.#held.delete(id)
      this.#needed.afterwards.add(() => this.consider())
    }
  }

  isHeld(id: string): boolean {
    return this.#held.has(id)
  }

  count(isHit: boolean): void {
    this.#needed.metrics.templateUses.inc({ result: isHit ? 'hit' : 'miss' })
  }

  /** Something has become larger, or can go now. */
  consider(): void {
    this.#shrinking.ask()
  }

  /** As far as that goes: what is used, or not on disk, stays. */
  async shrinkTo(limits: PoolLimits): Promise<void> {
    const tried = new Set<string>()
    while (!this.#fits(limits) && (await this.#dropOldest(limits, tried)));
  }

  #fits({ bytes, count }: PoolLimits): boolean {
    const now = this.#needed.store.images.residentTotals()
    return now.bytes <= bytes && now.count <= count
  }

  /** Once through all there is. False when nothing of it can go; what was used meanwhile has its turn in the next round. */
  async #dropOldest(limits: PoolLimits, tried: Set<string>): Promise<boolean> {
    const { images } = this.#needed.store
    const before = tried.size
    for (const listed of images.resident()) {
      if (tried.has(listed.id) || !isOnDisk(listed) || !this.#isFree(listed.id)) continue
      const row = images.get(listed.id)
      if (!row?.inMemory || row.usedAt !== listed.usedAt || !isOnDisk(row)) continue
      tried.add(row.id)
      await this.drop(row)
      if (this.#fits(limits)) break
    }
    return tried.size > before
  }

  #isFree(id: string): boolean {
    const { images } = this.#needed.store
    return !this.#held.has(id) && !images.isStoodOn(id) && !images.isGrownFrom(id)
  }

  /** Whoever wants it meanwhile waits until it is known whether it is there. */
  async drop(image: Pick<ImageRow, 'id' | 'family'>): Promise<void> {
    const going = this.#drop(image)
    this.#going.set(image.id, going)
    try {
      await going
    } finally {
      if (this.#going.get(image.id) === going) this.#going.delete(image.id)
    }
  }

  /** What grew from it has its pages now. */
  async #drop({ id, family }: Pick<ImageRow, 'id' | 'family'>): Promise<void> {
    const { store, families, log } = this.#needed
    try {
      const reply = await families.get(family)?.client.request('image.drop', { image: id })
      store.images.setInMemory(id, false)
      for (const { image, bytes } of reply?.images ?? []) store.images.setMemoryBytes(image, bytes)
    } catch (error) {
      if (error instanceof EngineLostError) return
      if (error instanceof EngineError && error.code === 'no_such_image') store.images.setInMemory(id, false)
      else log.warn({ image: id, err: error }, 'an image was not put out of memory')
    }
    if (!store.sandboxes.hasFamily(family) && !store.images.isHeldBy(family)) {
      families
        .retire(family)
        .catch((error) => log.error({ family, err: error }, 'an engine that is not used does not end'))
    }
  }
}

function isOnDisk({ diskBytes, state }: ImageRow): boolean {
  return diskBytes !== null && state === 'ready'
}
