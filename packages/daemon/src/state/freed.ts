/** What goes with checkpoints, counted in the transaction that removes their rows. */
import type { FreedBytes } from '@deltabox/protocol'
import type { ImageTable } from './image-table.js'
import type { LayerRow } from './layer-table.js'

export class Freed {
  readonly bytes: FreedBytes = { files: 0, memory: 0, disk: 0 }
  readonly #images: ImageTable
  /** How many that have pages in its file are needed, or were not looked at. */
  readonly #needers = new Map<string, number>()

  constructor(images: ImageTable) {
    this.#images = images
  }

  /** One whose size is not known yet counts for nothing. */
  layers(doomed: readonly LayerRow[]): void {
    for (const { bytes } of doomed) this.bytes.files += bytes ?? 0
  }

  /** A checkpoint that had it is gone. */
  image(id: string | null): void {
    if (id === null || this.#images.isWanted(id)) return
    const row = this.#images.get(id)
    if (row?.inMemory) this.bytes.memory += row.memoryBytes
    if (this.#neededBy(id) === 0) this.#file(id)
  }

  /** Its file, and those that only it needed. */
  #file(first: string): void {
    const unneeded = [first]
    for (const id of unneeded) {
      this.bytes.disk += this.#images.get(id)?.diskBytes ?? 0
      for (const other of this.#images.needsOf(id)) {
        const left = this.#neededBy(other) - 1
        this.#needers.set(other, left)
        if (left === 0 && !this.#images.isWanted(other)) unneeded.push(other)
      }
    }
  }

  /** Rows of what is unneeded stay until its file is removed. */
  #neededBy(id: string): number {
    return this.#needers.get(id) ?? this.#images.needers(id)
  }
}
