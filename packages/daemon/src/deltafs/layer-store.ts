/** Layers as directories, `FAMILY/layers/LAYER`, each with a record of what it is once it is frozen. */
import { lstatSync, mkdirSync, readdirSync, rmdirSync } from 'node:fs'
import { lstat, open, rename } from 'node:fs/promises'
import path from 'node:path'
import { isThere } from '../is-there.js'
import { makeDirectory } from '../make-directory.js'
import { namesIn } from '../names-in.js'
import { readRecordFile } from '../record-file.js'
import { removeTrees } from './remove-tree.js'

const FORMAT = 1
const RECORD = 'layer.json'
/** The most names that are looked at while others wait: about a third of a millisecond. */
const SMALL_NAMES = 64
const PATH_LIMIT = 3000
const BLOCK_BYTES = 512
const SLASH: Buffer = Buffer.from('/')

export interface LayerRecord {
  readonly id: string
  readonly family: string
  /** The layer below; null on the base. */
  readonly parent: string | null
  /** ISO 8601. */
  readonly createdAt: string
  /** Allocated on disk; null where that is not known yet. */
  readonly bytes: number | null
}

export interface LayerSize {
  /** Allocated on disk. */
  readonly bytes: number
  readonly files: number
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

  /** The directory of all layers of a family. */
  allOf(family: string): string {
    return `${this.#families}/${family}/layers`
  }

  directory({ family, id }: LayerName): string {
    return `${this.allOf(family)}/${id}`
  }

  async prepareFamily(family: string): Promise<void> {
    await makeDirectory(path.dirname(this.allOf(family)))
    await makeDirectory(this.allOf(family))
  }

  /** Synchronous: in the transaction that inserts its row. */
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

  /** Of a frozen layer with a few files; undefined where it takes longer to tell. */
  measureSmall(layer: LayerName): LayerSize | undefined {
    const directories = [Buffer.from(this.directory(layer))]
    const size = { bytes: 0, files: 0 }
    for (let seen = 0; directories.length > 0; ) {
      const directory = directories.pop() as Buffer
      const entries = readdirSync(directory, { withFileTypes: true, encoding: 'buffer' })
      seen += entries.length
      if (seen > SMALL_NAMES || directory.length > PATH_LIMIT) return undefined
      for (const entry of entries) {
        const file = Buffer.concat([directory, SLASH, entry.name])
        size.bytes += lstatSync(file).blocks * BLOCK_BYTES
        size.files += 1
        if (entry.isDirectory()) directories.push(file)
      }
    }
    return size
  }

  list(family: string): Promise<string[]> {
    return namesIn(this.allOf(family))
  }

  async isRecorded(layer: LayerName): Promise<boolean> {
    return await isThere(path.join(this.directory(layer), RECORD))
  }

  /** What is not there of a frozen layer: `fsN/upper`, of so many trees. */
  async missingTrees(layer: LayerName, trees: number): Promise<string[]> {
    const wanted = Array.from({ length: trees }, (_, tree) => path.join(`fs${tree}`, 'upper'))
    const there = await Promise.all(wanted.map((name) => isDirectory(path.join(this.directory(layer), name))))
    return wanted.filter((_, index) => !there[index])
  }

  /** Null where there is none, undefined where it cannot be understood. */
  async readRecord(layer: LayerName): Promise<LayerRecord | null | undefined> {
    return await readRecordFile(path.join(this.directory(layer), RECORD), FORMAT)
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

async function isDirectory(name: string): Promise<boolean> {
  try {
    return (await lstat(name)).isDirectory()
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return false
    throw error
  }
}
