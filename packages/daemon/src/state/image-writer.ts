/** Brings images to disk in the background: what was taken first is written first, for each engine one at a time. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { ImageStore } from '../deltacr/image-store.js'
import { EngineLostError } from '../engine/client.js'
import type { Families, Family } from './families.js'
import type { ImageRow } from './image-table.js'
import type { Layers } from './layers.js'
import type { Metrics } from './metrics.js'
import { Mutex } from './mutex.js'
import type { Store } from './store.js'

/** Of all engines together. */
const AT_ONCE = 2
const RETRY_MS = 2000

interface WriterNeeded {
  readonly log: Logger
  readonly store: Store
  readonly families: Families
  readonly layers: Layers
  readonly disk: ImageStore
  readonly metrics: Metrics
  readonly compress: boolean
  readonly openBase: (family: Family) => Promise<unknown>
  /** Its file is whole; the disk may not have it yet. */
  readonly written: (image: ImageRow) => void
}

export class ImageWriter {
  readonly #needed: WriterNeeded
  readonly #waiting = new Set<string>()
  /** Families of which one is being written. */
  readonly #busy = new Set<string>()
  readonly #idle = new Set<() => void>()
  readonly #files = new Mutex()
  #stopped = false

  constructor(needed: WriterNeeded) {
    this.#needed = needed
  }

  consider(id: string): void {
    const row = this.#needed.store.images.get(id)
    if (!row || !this.#isToBeWritten(row)) return
    this.#waiting.add(id)
    this.#next()
  }

  #isToBeWritten({ id, toDisk, diskBytes, inMemory, state }: ImageRow): boolean {
    return (
      toDisk && diskBytes === null && inMemory && state === 'ready' && this.#needed.store.images.isWanted(id)
    )
  }

  /** Files are not taken away under one that may come to need them. */
  async whileNothingIsWritten<T>(work: () => Promise<T>): Promise<T> {
    return await this.#files.alone(work)
  }

  /** Until less than so many bytes wait, or none is written any more. False: more wait, and nothing happens. */
  async below(bytes: number, deadlineMs: number): Promise<boolean> {
    const deadline = Date.now() + deadlineMs
    while (this.#needed.store.images.unwrittenBytes() > bytes) {
      if (Date.now() > deadline) return false
      await Promise.race([new Promise<void>((resolve) => this.#idle.add(resolve)), delay(50)])
    }
    return true
  }

  /** Once its file is whole. False: it cannot be written any more; it throws where the last try failed. */
  async written(id: string): Promise<boolean> {
    for (;;) {
      const row = this.#needed.store.images.get(id)
      if (!row || row.diskBytes !== null) return row !== undefined && row.state !== 'lost'
      if (!row.inMemory || row.state === 'failed' || row.state === 'lost' || this.#stopped) return false
      if (row.reason !== null) throw new Error(row.reason)
      this.consider(id)
      await Promise.race([new Promise<void>((resolve) => this.#idle.add(resolve)), delay(50)])
    }
  }

  #next(): void {
    for (const id of this.#waiting) {
      if (this.#stopped || this.#busy.size >= AT_ONCE) return
      const row = this.#needed.store.images.get(id)
      if (row && this.#busy.has(row.family)) continue
      this.#waiting.delete(id)
      if (row && this.#isToBeWritten(row)) this.#start(row)
    }
  }

  #start(row: ImageRow): void {
    this.#busy.add(row.family)
    this.#files
      .together(() => this.#write(row))
      .catch((error) => this.#report(row, error))
      .finally(() => {
        this.#busy.delete(row.family)
        for (const wake of this.#idle) wake()
        this.#idle.clear()
        this.#next()
      })
  }

  async #write(row: ImageRow): Promise<void> {
    const { store, families, layers, disk, compress, openBase, written } = this.#needed
    const { id, family } = row
    const live = families.get(family)
    const [checkpoint] = store.checkpoints.withImage(id)
    if (!live || !checkpoint) return
    await openBase(live)
    await disk.prepareFamily(family)
    const chain = store.layers.chain(checkpoint.layer)
    const started = performance.now()
    const { bytes, needs } = await layers.holding(chain, () =>
      live.client.request('image.store', {
        image: id,
        dir: disk.allOf(family),
        base: family,
        layers: chain.map((layer) => layers.directory(layer)),
        compress,
      }),
    )
    this.#needed.metrics.imageWriteSeconds.observe((performance.now() - started) / 1000)
    await disk.record({ id, family, bytes, needs })
    if (this.#stopped || !store.images.get(id)) return
    store.transaction(() => store.images.setOnDisk(id, bytes, needs))
    written(row)
  }

  /** The checkpoint stays as it is, in memory; when there is room again it is tried once more. */
  #report({ id }: ImageRow, error: unknown): void {
    const { store, log } = this.#needed
    if (this.#stopped || error instanceof EngineLostError) return
    const row = store.images.get(id)
    if (!row || !this.#isToBeWritten(row)) return
    const reason = (error as Error).message
    if (row.reason === null) log.error({ image: id, err: error }, 'an image is not on disk; tried again')
    store.images.setState(id, 'ready', reason)
    setTimeout(() => this.consider(id), RETRY_MS).unref()
  }

  stop(): void {
    this.#stopped = true
  }
}
