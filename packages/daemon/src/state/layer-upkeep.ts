/** What follows the freezing of a layer, in the background: it is measured, brought to disk, and its record is written. */
import { EngineLostError } from '../engine/client.js'
import type { LayerRow } from './layer-table.js'
import type { State } from './state.js'

type Needed = Pick<State, 'log' | 'store' | 'families' | 'layers'>

export class LayerUpkeep {
  readonly #state: Needed
  readonly #measuring = new Map<string, Promise<void>>()
  readonly #waiting = new Set<string>()
  #working: Promise<void> | undefined
  #stopped = false

  constructor(state: Needed) {
    this.#state = state
  }

  /** Those an earlier daemon did not come to. */
  start(): void {
    for (const { id } of this.#state.store.layers.unrecorded()) this.frozen(id)
  }

  /** Measures it at once if it is small. The disk is waited for once for all that were frozen meanwhile. */
  frozen(id: string): void {
    const layer = this.#state.store.layers.get(id)
    const size = layer?.bytes === null ? this.#state.layers.measureSmall(layer) : undefined
    if (size) this.#keep(id, size)
    this.#waiting.add(id)
    this.#working ??= this.#work()
  }

  /** Once the size of a frozen layer is known, if it can be. */
  measured(id: string): Promise<void> {
    const measuring = this.#measuring.get(id) ?? this.#measure(id)
    this.#measuring.set(id, measuring)
    const done = (): boolean => this.#measuring.delete(id)
    measuring.then(done, done)
    return measuring
  }

  async #measure(id: string): Promise<void> {
    const { store, families, layers } = this.#state
    const layer = store.layers.get(id)
    const live = families.get(layer?.family ?? '')
    if (layer?.bytes !== null || !live) return
    this.#keep(id, await live.client.request('layer.measure', { dir: layers.directory(layer) }))
  }

  #keep(id: string, { bytes, files }: { bytes: number; files: number }): void {
    const { store } = this.#state
    store.transaction(() => {
      store.layers.setSize(id, bytes, files)
      store.checkpoints.setFileBytes(id, bytes)
    })
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#working
  }

  async #work(): Promise<void> {
    await afterOthers()
    while (!this.#stopped && this.#waiting.size > 0) {
      const batch = [...this.#waiting]
      this.#waiting.clear()
      await this.#sync(batch)
      for (const id of batch) await this.#attend(id)
    }
    this.#working = undefined
  }

  /** All layers lie on one file system: syncing any of them is enough. */
  async #sync(batch: readonly string[]): Promise<void> {
    const { store, families, layers, log } = this.#state
    for (const id of batch) {
      const layer = store.layers.get(id)
      const live = families.get(layer?.family ?? '')
      if (!layer || !live) continue
      try {
        await live.client.request('layer.sync', { dir: layers.directory(layer) })
        return
      } catch (error) {
        // It went with its engine or was removed meanwhile; another one does as well.
        log.debug({ layer: id, err: error }, 'a layer was not synced')
      }
    }
  }

  async #attend(id: string): Promise<void> {
    if (this.#stopped) return
    try {
      await this.measured(id)
      await this.#record(this.#state.store.layers.get(id))
    } catch (error) {
      const isGone = this.#state.store.layers.get(id)?.state !== 'frozen'
      if (isGone || error instanceof EngineLostError) return
      this.#state.log.error({ layer: id, err: error }, 'a layer stays without its record')
    }
  }

  async #record(layer: LayerRow | undefined): Promise<void> {
    if (layer?.state !== 'frozen' || layer.bytes === null) return
    const { id, family, parent, bytes } = layer
    const createdAt = new Date(layer.createdAt).toISOString()
    await this.#state.layers.record({ id, family, parent, createdAt, bytes })
    // It may have come to stand on another one while that was written; that is written next.
    if (this.#state.store.layers.get(id)?.parent === parent) this.#state.store.layers.setRecorded(id)
  }
}

/** Whoever waits for a reply gets it first. */
function afterOthers(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
