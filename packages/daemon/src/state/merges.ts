/**
 * Chains are kept short in the background: a run of old layers is put together into one that shows the same, and takes
 * its place in every chain at once. What is mounted on the old ones stays there until its sandbox switches next.
 */
import { DeltaBoxError } from '@deltabox/protocol'
import { layersToMerge } from '../deltafs/merge-policy.js'
import { EngineLostError } from '../engine/client.js'
import { treesOf } from './base.js'
import type { Family } from './families.js'
import type { LayerRow, NewLayer } from './layer-table.js'
import type { SandboxRow } from './sandbox-table.js'
import { labelOf } from './sandboxes.js'
import { Serial } from './serial.js'
import type { State } from './state.js'

/** Engines mount no more than 500 layers. */
const HARD_LIMIT = 400
const MADE_ROOM = 200

type Needed = Pick<State, 'config' | 'log' | 'store' | 'families' | 'layers' | 'upkeep'>

export class Merges {
  readonly #state: Needed
  /** One at a time in a family, so that runs do not overlap. */
  readonly #serial = new Serial()
  readonly #waiting = new Set<string>()
  #stopped = false

  constructor(state: Needed) {
    this.#state = state
  }

  /** In the background, when the chain is deep. */
  consider(family: string, top: string): void {
    const limit = this.#state.config.mergeDepth
    if (this.#stopped || this.#waiting.has(family)) return
    if (this.#state.store.layers.depth(top) <= limit) return
    this.#waiting.add(family)
    this.#inTurn(family, () => {
      this.#waiting.delete(family)
      return this.#shorten(top, limit)
    }).catch((error) => {
      if (this.#stopped || error instanceof EngineLostError) return
      this.#state.log.error(
        { family, err: error },
        'layers could not be put together; the next checkpoint tries again',
      )
    })
  }

  /** A sandbox that has come to the most layers there can be waits until there are fewer. */
  async makeRoom(sandbox: SandboxRow): Promise<void> {
    const { layers } = this.#state.store
    if (layers.depth(sandbox.head) < HARD_LIMIT) return
    const fault = await this.#inTurn(sandbox.family, () => this.#shorten(sandbox.head, MADE_ROOM)).catch(
      (error) => error,
    )
    if (layers.depth(sandbox.head) < HARD_LIMIT) return
    throw new DeltaBoxError(
      'checkpoint_failed',
      `cannot take a checkpoint of sandbox ${labelOf(sandbox)}: it stands on ${HARD_LIMIT} layers, which could not be put together`,
      { cause: fault, details: { step: 'merge layers' } },
    )
  }

  /** Once nothing is being put together. */
  settled(): Promise<void> {
    return this.#serial.idle()
  }

  /** One that is under way is given up; what it left is removed by the next daemon. */
  stop(): void {
    this.#stopped = true
  }

  #inTurn(family: string, work: () => Promise<void>): Promise<void> {
    return this.#serial.run(family, work)
  }

  async #shorten(top: string, limit: number): Promise<void> {
    for (let run = this.#runIn(top, limit); run.length > 0; run = this.#runIn(top, limit)) {
      const family = this.#state.families.get(run[0]?.family ?? '')
      if (!family || this.#stopped) return
      await this.#merge(family, run)
    }
  }

  #runIn(top: string, limit: number): LayerRow[] {
    const chain = this.#state.store.layers.chain(top).filter((layer) => layer.state === 'frozen')
    return layersToMerge(chain, limit)
  }

  async #merge(family: Family, run: readonly LayerRow[]): Promise<void> {
    const { config, layers, log } = this.#state
    const merged = this.#insert(run)
    try {
      const setup = this.#state.store.families.get(family.id)?.setup
      const { bytes, files } = await family.client.request('layers.merge', {
        layers: run.map((layer) => layers.directory(layer)),
        into: layers.directory(merged),
        trees: treesOf(setup ?? { workspace: null }),
      })
      // What it is made of goes: a power cut must leave one or the other.
      if (config.sync) await family.client.request('layer.sync', { dir: layers.directory(merged) })
      this.#putInPlace(merged, run, { bytes, files })
      log.debug({ family: family.id, layer: merged.id, of: run.length, bytes, files }, 'layers put together')
    } catch (error) {
      if (!this.#stopped) layers.drop(merged.id)
      throw error
    }
  }

  /** Those it is made of stay until it is done, whatever ceases to need them meanwhile. */
  #insert(run: readonly LayerRow[]): NewLayer {
    const { store, layers } = this.#state
    const { family = '', parent = null } = run.at(-1) ?? {}
    return store.transaction(() => {
      const merged = layers.newMerging({ family, parent })
      for (const { id } of run) store.layers.hold(merged.id, id)
      return merged
    })
  }

  #putInPlace(
    { id: merged }: NewLayer,
    run: readonly LayerRow[],
    { bytes, files }: { bytes: number; files: number },
  ): void {
    const { store, layers, upkeep } = this.#state
    const newest = run[0]?.id ?? ''
    store.transaction(() => {
      store.layers.setState(merged, 'frozen')
      store.layers.setSize(merged, bytes, files)
      store.layers.moveParents(newest, merged)
      store.checkpoints.moveLayers(newest, merged)
      for (const head of store.layers.headsAbove(merged)) {
        for (const { id } of run) store.layers.hold(head, id)
      }
      layers.letGo(merged)
      // Nobody needs it when all that stood on the run went while it was put together.
      layers.release(merged)
    })
    for (const { id } of [{ id: merged }, ...store.layers.above(merged)]) upkeep.frozen(id)
  }
}
