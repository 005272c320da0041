/** Layers as directories, `FAMILY/layers/LAYER`, each with a record of what it is once it is frozen. */
import { mkdirSync, rmdirSync } from 'node:fs'
import { mkdir, open, rename } from 'node:fs/promises'
import path from 'node:path'
import { namesIn } from './names-in.js'
import { removeTrees } from './remove-tree.js'

const FORMAT = 1
const RECORD = 'layer.json'

export interface LayerRecord {
  readonly id: string
  readonly family: string
  /** The layer below; null on the base. */
  readonly parent: string | null
  /** ISO 8601. */
  readonly createdAt: string
  /** Allocated on disk. */
  readonly bytes: number
}

interface LayerName {
  readonly id: string
  readonly family: string
}

export class LayerStore {
  readonly #families: string

  /** The directory of all families' directories. */
  constructor(families: string) {
    this.#families = families
  }

  #all(family: string): string {
    return path.join(this.#families, family, 'layers')
  }

  directory({ family, id }: LayerName): string {
    return path.join(this.#all(family), id)
  }

  async prepareFamily(family: string): Promise<void> {
    await mkdir(this.#all(family), { recursive: true, mode: 0o700 })
  }

  /** Synchronous: it takes 20 microseconds, a turn through the thread pool several times that. */
  make(layer: LayerName): void {
    mkdirSync(this.directory(layer), { mode: 0o700 })
  }

  /** False when there is something in it. */
  removeEmpty(layer: LayerName): boolean {
    try {
      rmdirSync(this.directory(layer))
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'ENOTEMPTY') return false
      if (code !== 'ENOENT') throw error
    }
    return true
  }

  async remove(layers: readonly LayerName[]): Promise<void> {
    await removeTrees(layers.map((layer) => this.directory(layer)))
  }

  list(family: string): Promise<string[]> {
    return namesIn(this.#all(family))
  }

  /** Who reads it sees the old record or the new; once this returns, a power cut leaves it too. */
  async record(record: LayerRecord): Promise<void> {
    const directory = this.directory(record)
    const temporary = path.join(directory, `${RECORD}.new`)
    const file = await open(temporary, 'w', 0o600)
    try {
      await file.writeFile(`${JSON.stringify({ format: FORMAT, ...record })}\n`)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path.join(directory, RECORD))
  }
}
