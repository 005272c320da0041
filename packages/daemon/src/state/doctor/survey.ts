/** The rows as they are at one moment, and which checkpoints hang on each. Nothing of them is trusted: they may go round in circles. */
import type { CheckpointRow } from '../checkpoint-table.js'
import type { ImageRow } from '../image-table.js'
import type { LayerRow } from '../layer-table.js'
import type { Store } from '../store.js'

export interface SurveyedRows {
  readonly layers: readonly LayerRow[]
  readonly checkpoints: readonly CheckpointRow[]
  readonly images: readonly ImageRow[]
  readonly needs: readonly { readonly image: string; readonly needs: string }[]
}

export function surveyOf(store: Store): Survey {
  return new Survey({
    layers: store.layers.all(),
    checkpoints: store.checkpoints.all(),
    images: store.images.all(),
    needs: store.images.needs(),
  })
}

export class Survey {
  readonly layers: ReadonlyMap<string, LayerRow>
  readonly checkpoints: readonly CheckpointRow[]
  readonly images: ReadonlyMap<string, ImageRow>
  readonly needs: SurveyedRows['needs']
  readonly #above: ReadonlyMap<string, readonly string[]>
  readonly #neededBy: ReadonlyMap<string, readonly string[]>

  constructor({ layers, checkpoints, images, needs }: SurveyedRows) {
    this.layers = new Map(layers.map((row) => [row.id, row]))
    this.checkpoints = checkpoints
    this.images = new Map(images.map((row) => [row.id, row]))
    this.needs = needs
    this.#above = grouped(layers.flatMap(({ id, parent }) => (parent === null ? [] : [[parent, id]])))
    this.#neededBy = grouped(needs.map(({ image, needs: other }) => [other, image]))
  }

  /** Those whose chain holds the layer. */
  standingOn(layer: string): string[] {
    const chain = reach(layer, this.#above)
    return this.#idsWhere((row) => row.layer !== null && chain.has(row.layer))
  }

  /** Those that have pages in the file of the image. */
  havingImage(image: string): string[] {
    const images = reach(image, this.#neededBy)
    return this.#idsWhere((row) => row.image !== null && images.has(row.image))
  }

  /** The image and all that have pages in its file. */
  dependents(image: string): string[] {
    return [...reach(image, this.#neededBy)]
  }

  /** Layers that a row names, whether or not there is one of their own. */
  namedLayers(): Set<string> {
    const below = [...this.layers.values()].flatMap(({ parent }) => parent ?? [])
    return new Set([...below, ...this.checkpoints.flatMap(({ layer }) => layer ?? [])])
  }

  /** Images that a row names, whether or not there is one of their own, with their families. */
  namedImages(): Map<string, string> {
    const named = new Map<string, string>()
    for (const { image, needs } of this.needs) {
      const family = this.images.get(image)?.family
      if (family !== undefined) named.set(needs, family)
    }
    for (const { image, family } of this.checkpoints) if (image !== null) named.set(image, family)
    return named
  }

  /** Layers that stand on themselves, each circle once, by one of them. */
  circles(): string[][] {
    const seen = new Set<string>()
    const circles: string[][] = []
    for (const start of this.layers.keys()) {
      const way: string[] = []
      let at: string | null | undefined = start
      while (at != null && !seen.has(at)) {
        seen.add(at)
        way.push(at)
        at = this.layers.get(at)?.parent
      }
      const from = at == null ? -1 : way.indexOf(at)
      if (from >= 0) circles.push(way.slice(from))
    }
    return circles
  }

  #idsWhere(is: (row: CheckpointRow) => boolean): string[] {
    return this.checkpoints.filter(is).map(({ id }) => id)
  }
}

function grouped(pairs: readonly (readonly string[])[]): Map<string, string[]> {
  const groups = new Map<string, string[]>()
  for (const [key, value] of pairs as readonly (readonly [string, string])[]) {
    const group = groups.get(key)
    if (group) group.push(value)
    else groups.set(key, [value])
  }
  return groups
}

function reach(start: string, next: ReadonlyMap<string, readonly string[]>): Set<string> {
  const reached = new Set([start])
  for (const at of reached) for (const id of next.get(at) ?? []) reached.add(id)
  return reached
}
