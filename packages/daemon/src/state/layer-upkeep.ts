/** What follows the freezing of a layer, in the background: it is measured, brought to disk, and its record is written. */
import type { ImageStore } from '../deltacr/image-store.js'
import type { LayerRecord } from '../deltafs/layer-store.js'
import { EngineLostError } from '../engine/client.js'
import type { CheckpointRow } from './checkpoint-table.js'
import type { LayerRow } from './layer-table.js'
import { Pause } from './pause.js'
import { Rounds } from './rounds.js'
import type { State } from './state.js'

/** Who waits for the disk makes others wait for its journal: the disk is waited for once for many. */
const PAUSE_MS = 500

type Needed = Pick<State, 'config' | 'log' | 'store' | 'events' | 'families' | 'afterwards' | 'layers'> & {
  readonly disk: ImageStore
}

/** What its directory is to say of a layer. */
export function recordOf({ id, family, parent, createdAt, bytes }: LayerRow): LayerRecord {
  return { id, family, parent, createdAt: new Date(createdAt).toISOString(), bytes }
}

export class LayerUpkeep {
  readonly #state: Needed
  readonly #unrecorded = new Set<string>()
  /** Images whose files the disk may not have yet. */
  readonly #unsynced = new Set<string>()
  /** Checkpoints of which it is just being noted that they are durable. */
  readonly #untold = new Set<string>()
  readonly #pause = new Pause()
  readonly #recording: Rounds
  #stopped = false

  constructor(state: Needed) {
    this.#state = state
    this.#recording = new Rounds(
      () => this.#recordAll(),
      (error) => state.log.error({ err: error }, 'checkpoints are not on disk yet'),
    )
  }

  /** What an earlier daemon did not come to. */
  async start(): Promise<void> {
    const { store, layers } = this.#state
    const outdated = new Set(store.layers.outdated().map((layer) => layer.id))
    for (const row of store.checkpoints.volatile()) if (row.image !== null) this.#unsynced.add(row.image)
    for (const layer of store.layers.inState('frozen')) {
      if (outdated.has(layer.id) || !(await layers.isRecorded(layer))) this.frozen(layer.id)
      if (this.#stopped) return
    }
    this.#recording.ask()
  }

  /** The file of an image is whole. */
  written(image: string): void {
    this.#unsynced.add(image)
    this.#recording.ask()
  }

  /** A checkpoint has come that may be on disk already. */
  settle(): void {
    this.#recording.ask()
  }

  /** Its record is on its way. */
  isToBeRecorded(id: string): boolean {
    return this.#unrecorded.has(id)
  }

  frozen(id: string): void {
    this.#state.afterwards.add(() => this.#measure(id).catch((error) => this.#report(id, error)))
    this.#unrecorded.add(id)
    this.#recording.ask()
  }

  /** Small ones are measured when they are frozen. */
  async #measure(id: string): Promise<void> {
    const { store, families, layers } = this.#state
    const layer = store.layers.get(id)
    const live = families.get(layer?.family ?? '')
    if (layer?.bytes !== null || !live) return
    const { bytes, files } = await live.client.request('layer.measure', { dir: layers.directory(layer) })
    store.transaction(() => {
      store.layers.setSize(id, bytes, files)
      store.checkpoints.setFileBytes(id, bytes)
    })
  }

  /** Not waited for: the disk may take its time. The next daemon goes on with it. */
  stop(): void {
    this.#stopped = true
    this.#pause.end()
  }

  async #recordAll(): Promise<void> {
    if (this.#stopped) return
    await this.#pause.take(PAUSE_MS)
    const batch = [...this.#unrecorded]
    const images = [...this.#unsynced]
    if (!this.#stopped && this.#state.config.sync) await this.#sync(batch, images)
    for (const id of batch) {
      if (this.#stopped) return
      await this.#recordLayer(this.#state.store.layers.get(id)).catch((error) => this.#report(id, error))
      this.#unrecorded.delete(id)
    }
    if (this.#stopped) return
    for (const id of images) this.#unsynced.delete(id)
    await this.#tellDurable()
  }

  /** Whatever is on disk with all it stands on; told once the disk has that too. */
  async #tellDurable(): Promise<void> {
    const { config, store, events } = this.#state
    const rows = store.checkpoints.volatile().filter((row) => this.#isOnDisk(row))
    if (rows.length === 0) return
    for (const { id } of rows) this.#untold.add(id)
    store.transaction(() => {
      for (const { id } of rows) store.checkpoints.setDurable(id)
    })
    if (config.sync) await store.sync()
    for (const { id, sandbox } of rows) {
      this.#untold.delete(id)
      if (store.checkpoints.get(id)) events.emit({ type: 'checkpoint.durable', sandbox, checkpoint: id })
    }
  }

  /** The disk may not have it yet that the checkpoint is on it. */
  isUntold(checkpoint: string): boolean {
    return this.#untold.has(checkpoint)
  }

  #isOnDisk({ image, layer }: CheckpointRow): boolean {
    const { layers, images } = this.#state.store
    if (image !== null && (images.get(image)?.diskBytes ?? null) === null) return false
    if (image !== null && this.#unsynced.has(image)) return false
    return layers.chainIds(layer).every((id) => !this.#unrecorded.has(id))
  }

  /** All layers lie on one file system: syncing any of them is enough. */
  async #sync(batch: readonly string[], images: readonly string[]): Promise<void> {
    const { store, families, layers, log } = this.#state
    if (batch.length === 0 && images.length > 0) await this.#syncImages(images)
    for (const id of batch) {
      const layer = store.layers.get(id)
      const live = families.get(layer?.family ?? '')
      if (!layer || !live) continue
      try {
        await live.client.request('layer.sync', { dir: layers.directory(layer) })
        return
      } catch (error) {
        if (this.#stopped) return
        // It went with its engine or was removed meanwhile; another one does as well.
        log.debug({ layer: id, err: error }, 'a layer was not synced')
      }
    }
  }

  async #syncImages(images: readonly string[]): Promise<void> {
    const { store, families, disk } = this.#state
    for (const id of images) {
      const family = store.images.get(id)?.family
      const live = family === undefined ? undefined : families.get(family)
      if (family === undefined || !live) continue
      await live.client.request('layer.sync', { dir: disk.allOf(family) })
      return
    }
  }

  async #recordLayer(layer: LayerRow | undefined): Promise<void> {
    if (layer?.state !== 'frozen') return
    const { id, parent } = layer
    await this.#state.layers.record(recordOf(layer))
    if (this.#stopped) return
    const now = this.#state.store.layers.get(id)
    // It may have come to stand on another one while that was written; that is written next.
    if (now?.parent === parent) this.#state.store.layers.setUpToDate(id)
  }

  /** One that was removed meanwhile, or whose engine went, is nobody's any more. */
  #report(id: string, error: unknown): void {
    if (this.#stopped || error instanceof EngineLostError) return
    if (this.#state.store.layers.get(id)?.state !== 'frozen') return
    this.#state.log.error({ layer: id, err: error }, 'a layer stays without its size or its record')
  }
}
