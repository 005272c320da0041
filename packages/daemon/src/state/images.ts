/** The processes of checkpoints: built by their engine, brought to disk, put out of memory and brought in again. */
import { DeltaBoxError } from '@deltabox/protocol'
import type { Logger } from 'pino'
import type { ImageStore } from '../deltacr/image-store.js'
import { EngineError } from '../engine/client.js'
import type { ImageFailed, ImageReady } from '../engine/messages.js'
import type { CheckpointRow } from './checkpoint-table.js'
import { explain } from './engine-errors.js'
import type { Events } from './events.js'
import type { Families, Family } from './families.js'
import type { ImageRow } from './image-table.js'
import type { ImageWriter } from './image-writer.js'
import type { Layers } from './layers.js'
import type { Metrics } from './metrics.js'
import type { Pool } from './pool.js'
import { Rounds } from './rounds.js'
import type { Store } from './store.js'

export interface ImagesNeeded {
  readonly log: Logger
  readonly store: Store
  readonly events: Events
  readonly metrics: Metrics
  readonly families: Families
  readonly layers: Layers
  readonly disk: ImageStore
  readonly writer: ImageWriter
  readonly pool: Pool
  /** Mounts what the family's sandboxes start from. */
  readonly openBase: (family: Family) => Promise<unknown>
}

/** Where the processes of a checkpoint come from. */
export type ImageSource = 'template' | 'image'

export class Images {
  readonly #needed: ImagesNeeded
  /** What engines told before the reply that names the image was looked at. */
  readonly #early = new Map<string, ImageReady | ImageFailed>()
  readonly #loading = new Map<string, Promise<void>>()
  /** Who reads their files now. */
  #readers = 0
  /** The last time that an image which is in use was killed and put out of memory. */
  readonly #buried = new Map<string, Promise<void>>()
  readonly #removing: Rounds

  constructor(needed: ImagesNeeded) {
    this.#needed = needed
    this.#removing = new Rounds(
      () => this.#removeAll(),
      (error) => needed.log.error({ err: error }, 'images that nobody needs stay for now'),
    )
  }

  /** In the transaction that inserts its checkpoint. */
  insert(image: Pick<ImageRow, 'id' | 'family' | 'toDisk' | 'memoryBytes'>): void {
    this.#needed.store.images.insert(image)
  }

  /** Its checkpoint is there. */
  taken(id: string): void {
    const told = this.#early.get(id)
    this.#early.delete(id)
    if (told) this.tell(told)
  }

  tell(event: ImageReady | ImageFailed): void {
    const { store } = this.#needed
    if (!store.images.get(event.image)) {
      this.#early.set(event.image, event)
      return
    }
    if (event.event === 'image.ready') this.#isReady(event)
    else this.#hasFailed(event)
  }

  /** Nothing will come of it: the checkpoint was not taken. */
  forgetEarly(id: string): void {
    this.#early.delete(id)
  }

  #isReady({ image, bytes }: ImageReady): void {
    const { store, pool, writer } = this.#needed
    const wasPending = store.images.get(image)?.state === 'pending'
    store.images.setInMemory(image, true, bytes)
    if (wasPending) {
      store.images.setState(image, 'ready')
      this.#announce('checkpoint.ready', image)
    }
    writer.consider(image)
    pool.consider()
  }

  #hasFailed({ image, reason }: ImageFailed): void {
    const { store, log } = this.#needed
    const told = Buffer.from(reason).toString('utf8')
    log.error({ image, reason: told }, 'the processes of a checkpoint could not be kept')
    const row = store.images.get(image)
    if (row?.diskBytes === null) {
      store.images.setState(image, 'failed', told)
      this.#announce('checkpoint.failed', image, told)
    } else if (row) {
      // What could not be built from the disk is tried from there again when it is wanted.
      this.#needed.pool
        .drop(row)
        .catch((error) => log.warn({ image, err: error }, 'an image was not put out of memory'))
    }
  }

  #announce(type: 'checkpoint.ready' | 'checkpoint.failed', image: string, reason?: string): void {
    for (const row of this.#needed.store.checkpoints.withImage(image)) {
      const about = { sandbox: row.sandbox, checkpoint: row.id, ...(reason === undefined ? {} : { reason }) }
      this.#needed.events.emit({ type, ...about })
    }
  }

  /** Whether its processes can be brought back. */
  isThere(id: string | null): boolean {
    const image = id === null ? undefined : this.#needed.store.images.get(id)
    return image !== undefined && image.state !== 'lost' && (image.inMemory || image.diskBytes !== null)
  }

  /**
   * While `work` goes on the image is in memory: brought in from disk where it was not. Without an image, or when its processes
   * cannot be had any more, `work` gets null. When it throws because what was kept in memory is killed, and the disk has it, it is
   * asked once more, with `image` for its source. `doing` completes "cannot …".
   */
  async use<T>(
    { image: id, layer }: Pick<CheckpointRow, 'image' | 'layer'>,
    doing: string,
    work: (image: string | null, source: ImageSource) => Promise<T>,
  ): Promise<T> {
    if (id === null || !this.isThere(id)) return await work(null, 'image')
    const { pool } = this.#needed
    try {
      return await pool.holding(id, () => this.#useHeld(id, layer, doing, work))
    } finally {
      if (!pool.isHeld(id)) {
        this.#buried.delete(id)
        this.release(id)
      }
    }
  }

  async #useHeld<T>(
    id: string,
    layer: string | null,
    doing: string,
    work: (image: string | null, source: ImageSource) => Promise<T>,
  ): Promise<T> {
    const { pool, store } = this.#needed
    const isInMemory = (): boolean => store.images.get(id)?.inMemory === true
    const wasInMemory = isInMemory()
    pool.count(wasInMemory)
    if (!wasInMemory && !(await this.#canBringIn(id, layer, doing))) return await work(null, 'image')
    // While the engine works.
    setImmediate(() => store.images.setUsed(id))
    const buried = this.#buried.get(id)
    try {
      return await work(id, wasInMemory ? 'template' : 'image')
    } catch (error) {
      if (!wasInMemory || !this.wasKilled(id, error)) throw error
    }
    // Others that have seen it killed too must not take away what was read for the first of them.
    if (this.#buried.get(id) === buried) this.#buried.set(id, this.#bury(id))
    await this.#buried.get(id)
    const isThere = isInMemory() || (await this.#canBringIn(id, layer, doing))
    return await work(isThere ? id : null, 'image')
  }

  /** Somebody, or the kernel for want of memory, has killed what was kept; the disk has it too. */
  wasKilled(id: string | null, error: unknown): boolean {
    const cause = error instanceof DeltaBoxError ? error.cause : undefined
    const isGone = cause instanceof EngineError && cause.code === 'no_such_image'
    return isGone && id !== null && this.#needed.store.images.get(id)?.diskBytes !== null
  }

  async #bury(id: string): Promise<void> {
    const { log, pool, store } = this.#needed
    log.warn({ image: id }, 'what was kept in memory is gone; it is read from disk')
    await pool.drop({ id, family: store.images.get(id)?.family ?? '' })
  }

  /** Where it was; null where it cannot be had. */
  async prefetch(row: Pick<CheckpointRow, 'image' | 'layer'>, doing: string): Promise<ImageSource | null> {
    return await this.use(row, doing, async (image, source) => (image === null ? null : source))
  }

  /** False where they were taken under another kernel: their files are all that can be had. */
  async #canBringIn(id: string, layer: string | null, doing: string): Promise<boolean> {
    try {
      await this.#bringIn(id, layer)
      return true
    } catch (error) {
      if (!(error instanceof EngineError && error.code === 'other_host'))
        throw explain(error, 'image.load', doing)
      this.#needed.log.warn({ image: id, reason: error.message }, 'processes cannot be brought back here')
      return false
    }
  }

  async #bringIn(id: string, layer: string | null): Promise<void> {
    const loading = this.#loading.get(id) ?? this.#load(id, layer)
    this.#loading.set(id, loading)
    try {
      await loading
    } finally {
      if (this.#loading.get(id) === loading) this.#loading.delete(id)
    }
  }

  async #load(id: string, layer: string | null): Promise<void> {
    const { store, families, layers, disk, openBase, log, pool, metrics } = this.#needed
    const family = store.images.get(id)?.family
    if (family === undefined) throw new Error(`there is no image ${id}`)
    const started = performance.now()
    await families.use(family, async (live) => {
      await openBase(live)
      const chain = store.layers.chain(layer)
      await layers.holding(chain, async () => {
        const dir = disk.allOf(family)
        const { bytes } = await live.client.request('image.load', {
          image: id,
          dir,
          base: family,
          layers: chain.map((one) => layers.directory(one)),
        })
        store.images.setInMemory(id, true, bytes)
      })
    })
    const ms = performance.now() - started
    metrics.imageReadSeconds.observe(ms / 1000)
    log.debug({ image: id, ms }, 'image brought into memory')
    pool.consider()
  }

  /** Brings it to disk though it was not to be. False where that cannot be any more. */
  async bringToDisk(id: string): Promise<boolean> {
    this.#needed.store.images.setToDisk(id)
    return await this.#needed.writer.written(id)
  }

  /** No file of an image goes meanwhile. */
  async keepingFiles<T>(work: () => Promise<T>): Promise<T> {
    this.#readers += 1
    try {
      return await work()
    } finally {
      this.#readers -= 1
      if (this.#readers === 0) this.removeUnneeded()
    }
  }

  /** At the start, when nothing is under way. */
  async recover(): Promise<void> {
    const { store, disk, log } = this.#needed
    for (const family of store.families.all()) {
      const rows = store.images.ofFamily(family.id)
      for (const row of rows) await this.#recoverFile(row)
      const strays = await disk.removeStrays(family.id, new Set(rows.map((row) => row.id)))
      if (strays.length > 0) log.info({ family: family.id, strays }, 'what nobody knows of is removed')
    }
    this.removeUnneeded()
  }

  /** A file that is whole counts, whether or not that was written down. */
  async #recoverFile(row: ImageRow): Promise<void> {
    const { store, disk, log } = this.#needed
    const record = await disk.read(row)
    if (record && row.diskBytes === null) {
      store.transaction(() => store.images.setOnDisk(row.id, record.bytes, record.needs))
      if (row.state === 'lost' || row.state === 'pending') store.images.setState(row.id, 'ready')
    } else if (!record && row.diskBytes !== null) {
      log.error({ image: row.id }, 'the image is not on the disk any more')
    }
  }

  /** Its file is not what was written, and nobody has it in memory. */
  lose(id: string, reason: string): void {
    this.#needed.store.images.setState(id, 'lost', reason)
    this.#announce('checkpoint.failed', id, reason)
  }

  /** Once what nobody needs is removed, as far as that is under way. */
  async settled(): Promise<void> {
    await this.#removing.settled()
  }

  /** Somebody goes back to it, or brings it into memory, now. */
  isUsed(id: string): boolean {
    return this.#needed.pool.isHeld(id)
  }

  /** A checkpoint that had it is gone, or who has used it is done. */
  release(id: string | null): void {
    if (id === null) return
    const { store } = this.#needed
    if (store.images.isWanted(id)) return
    this.removeUnneeded()
  }

  /** In the background: out of memory, then from disk. What the next that is removed needs may go then. */
  removeUnneeded(): void {
    this.#removing.ask()
  }

  async #removeAll(): Promise<void> {
    await this.#dropUnwanted()
    if (this.#needed.store.images.unneeded().length === 0) return
    await this.#needed.writer.whileNothingIsWritten(() => this.#removeFiles())
  }

  /** What is still in memory, or on its way there, stays, and what that has pages in. */
  async #removeFiles(): Promise<void> {
    const { store, disk } = this.#needed
    await store.sync()
    for (const row of store.images.unneeded()) {
      if (this.#readers > 0) return
      if (this.isUsed(row.id) || store.images.get(row.id)?.inMemory || store.images.needers(row.id) > 0)
        continue
      await disk.remove(row)
      store.images.remove(row.id)
    }
  }

  /** Out of memory those that no checkpoint has, though others may need their files. */
  async #dropUnwanted(): Promise<void> {
    const { store, pool } = this.#needed
    for (const row of store.images.resident()) {
      if (!store.images.isWanted(row.id) && !this.isUsed(row.id)) await pool.drop(row)
    }
  }
}
