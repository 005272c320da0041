/** Layers come and go: a row before its directory, and a directory before its row is forgotten. */
import type { Logger } from 'pino'
import type { LayerRecord, LayerSize, LayerStore } from '../deltafs/layer-store.js'
import type { Afterwards } from './afterwards.js'
import { newHolderId, newLayerId } from './ids.js'
import type { LayerRow, NewLayer } from './layer-table.js'
import { Pause } from './pause.js'
import type { Store } from './store.js'

/** Directories removed by one run of `rm`. */
const BATCH = 256
const PAUSE_MS = 100

export class Layers {
  readonly #store: Store
  readonly #disk: LayerStore
  readonly #log: Logger
  readonly #afterwards: Afterwards
  #removing: Promise<void> | undefined
  readonly #pause = new Pause()
  #stopped = false

  constructor(store: Store, disk: LayerStore, log: Logger, afterwards: Afterwards) {
    this.#store = store
    this.#disk = disk
    this.#log = log
    this.#afterwards = afterwards
  }

  directory(layer: Pick<LayerRow, 'family' | 'id'>): string {
    return this.#disk.directory(layer)
  }

  /** As engines take it: newest first. */
  chainDirectories({ family, top }: { readonly family: string; readonly top: string | null }): string[] {
    return this.#store.layers.chainIds(top).map((id) => this.#disk.directory({ family, id }))
  }

  /** A layer for a sandbox to write to. Its directory is made by the engine. */
  newHead(head: Pick<LayerRow, 'family' | 'parent' | 'target'> & { sandbox: string }): NewLayer {
    return this.#insert({ ...head, state: 'head' })
  }

  /** Empty, for others to be put together in it. */
  newMerging({ family, parent }: Pick<LayerRow, 'family' | 'parent'>): NewLayer {
    const layer = this.#insert({ family, parent, state: 'merging', sandbox: null, target: null })
    try {
      this.#disk.make(layer)
    } catch (error) {
      this.#store.layers.remove(layer.id)
      throw error
    }
    return layer
  }

  #insert(facts: Omit<NewLayer, 'id'>): NewLayer {
    const layer = { id: newLayerId(), ...facts }
    this.#store.layers.insert(layer)
    return layer
  }

  /** A head that was not used after all. */
  abandon(layer: Pick<LayerRow, 'family' | 'id' | 'parent'>): void {
    if (!this.#disk.removeEmpty(layer)) {
      this.drop(layer.id)
      return
    }
    this.#store.transaction(() => {
      this.#store.layers.remove(layer.id)
      this.letGo(layer.id)
      this.release(layer.parent)
    })
  }

  /** No sandbox writes to it any more, and what was written is not wanted. */
  drop(id: string): void {
    this.#store.transaction(() => {
      this.#store.layers.setState(id, 'frozen')
      this.letGo(id)
      this.release(id)
    })
  }

  /** A daemon that is killed before leaves it to the next. */
  dropSoon(id: string): void {
    this.#afterwards.add(() => this.drop(id))
  }

  /** The layers stay until the work is done, whatever ceases to need them meanwhile. */
  async holding<T>(layers: readonly Pick<LayerRow, 'id'>[], work: () => Promise<T>): Promise<T> {
    const holder = newHolderId()
    this.#store.transaction(() => {
      for (const { id } of layers) this.#store.layers.hold(holder, id)
    })
    try {
      return await work()
    } finally {
      this.#store.transaction(() => this.letGo(holder))
    }
  }

  /** What no mount shows any more though its chain does not name it. */
  letGo(holder: string): void {
    const held = this.#store.layers.heldBy(holder)
    if (held.length === 0) return
    this.#store.layers.letGo(holder)
    for (const layer of held) this.release(layer)
  }

  /** Something that stood on the layer does not any more. It goes, and those below it that only it needed. */
  release(id: string | null): void {
    if (this.doom(id).length > 0) this.removeDoomed()
  }

  /** Of a release the rows alone: those that are doomed now. */
  doom(id: string | null): LayerRow[] {
    const doomed: LayerRow[] = []
    for (let at = id; at !== null; ) {
      const layer = this.#store.layers.get(at)
      if (layer?.state !== 'frozen' || this.#store.layers.isNeeded(at)) break
      this.#store.layers.setState(at, 'doomed')
      doomed.push(layer)
      at = layer.parent
    }
    return doomed
  }

  /** In the background, one batch after the other. What fails is tried again with the next, or by the next daemon. */
  removeDoomed(): void {
    if (this.#removing || this.#stopped) return
    const removing = this.#removeAll().catch((error) =>
      this.#log.error({ err: error }, 'layers that nothing needs stay on the disk for now'),
    )
    this.#removing = removing
    const done = (): void => {
      this.#removing = undefined
    }
    removing.then(done, done)
  }

  async #removeAll(): Promise<void> {
    // Starting `rm` takes a millisecond of the one thread there is: what is doomed shortly after goes with the first.
    await this.#pause.take(PAUSE_MS)
    while (!this.#stopped) {
      const doomed = this.#store.layers.doomed(BATCH)
      if (doomed.length === 0) return
      await this.#store.sync()
      await this.#disk.remove(doomed)
      this.#store.transaction(() => {
        for (const layer of doomed) this.#store.layers.remove(layer.id)
      })
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#pause.end()
    await this.#removing
  }

  measureSmall(layer: Pick<LayerRow, 'family' | 'id'>): LayerSize | undefined {
    return this.#disk.measureSmall(layer)
  }

  isRecorded(layer: Pick<LayerRow, 'family' | 'id'>): Promise<boolean> {
    return this.#disk.isRecorded(layer)
  }

  record(record: LayerRecord): Promise<void> {
    return this.#disk.record(record)
  }

  /** At the start, when nothing is under way: whatever no sandbox and no checkpoint needs goes. */
  async cleanUp(): Promise<void> {
    this.#store.transaction(() => this.#doomUnneeded())
    for (const family of this.#store.families.all()) await this.#removeStrays(family.id)
    this.removeDoomed()
  }

  #doomUnneeded(): void {
    const { layers, sandboxes } = this.#store
    const heads = new Set(sandboxes.all().map((row) => row.head))
    const unused = layers.inState('head').filter((row) => !heads.has(row.id))
    for (const row of [...unused, ...layers.inState('merging')]) layers.setState(row.id, 'doomed')
    for (const holder of layers.holders()) if (!heads.has(holder)) layers.letGo(holder)
    for (let rows = layers.unneeded(); rows.length > 0; rows = layers.unneeded()) {
      for (const row of rows) layers.setState(row.id, 'doomed')
    }
  }

  async #removeStrays(family: string): Promise<void> {
    const known = new Set(this.#store.layers.ofFamily(family).map((row) => row.id))
    const onDisk = await this.#disk.list(family)
    await this.#disk.remove(onDisk.filter((id) => !known.has(id)).map((id) => ({ family, id })))
    const there = new Set(onDisk)
    const isLost = (row: LayerRow): boolean => row.state !== 'doomed' && !there.has(row.id)
    const lost = this.#store.layers.ofFamily(family).filter(isLost)
    if (lost.length > 0) {
      this.#log.error({ family, layers: lost.map((row) => row.id) }, 'layers are not on the disk any more')
    }
  }
}
