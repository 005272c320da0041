/** What follows the freezing of a layer without anybody waiting for it: it is measured, and its record written. */
import { EngineLostError } from '../engine/client.js'
import type { LayerRow } from './layer-table.js'
import type { State } from './state.js'

type Needed = Pick<State, 'log' | 'store' | 'families' | 'layers'>

export class LayerUpkeep {
  readonly #state: Needed
  #last: Promise<void> = Promise.resolve()
  #stopped = false

  constructor(state: Needed) {
    this.#state = state
  }

  /** Those an earlier daemon did not come to. */
  start(): void {
    for (const { id } of this.#state.store.layers.unrecorded()) this.frozen(id)
  }

  /** One at a time, in the order they were frozen. */
  frozen(id: string): void {
    this.#last = this.#last.then(() => this.#attend(id))
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#last
  }

  async #attend(id: string): Promise<void> {
    const layer = this.#state.store.layers.get(id)
    if (this.#stopped || layer?.state !== 'frozen') return
    try {
      await this.#measureAndRecord(layer)
    } catch (error) {
      const isGone = this.#state.store.layers.get(id)?.state !== 'frozen'
      if (isGone || error instanceof EngineLostError) return
      this.#state.log.error({ layer: id, err: error }, 'a layer stays without its record')
    }
  }

  async #measureAndRecord(layer: LayerRow): Promise<void> {
    const { store, layers, families } = this.#state
    const { id, family, parent, createdAt } = layer
    const live = families.get(family)
    if (!live) return
    const { bytes, files } =
      layer.bytes === null || layer.files === null
        ? await live.client.request('layer.measure', { dir: layers.directory(layer) })
        : { bytes: layer.bytes, files: layer.files }
    await layers.record({ id, family, parent, createdAt: new Date(createdAt).toISOString(), bytes })
    store.transaction(() => {
      store.layers.setSize(id, bytes, files)
      store.layers.setRecorded(id)
      store.checkpoints.setFileBytes(id, bytes)
    })
  }
}
