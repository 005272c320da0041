/** Images as files, `FAMILY/images/IMAGE`, each with a record of what it needs beside it. */
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { namesIn } from '../names-in.js'
import { readRecordFile } from '../record-file.js'

const FORMAT = 1
const RECORD = '.json'
/** What the engine has not finished. */
const UNFINISHED = ['.part', `${RECORD}.new`]

export interface ImageRecord {
  readonly id: string
  readonly family: string
  readonly bytes: number
  /** The images in whose files some of its pages are. */
  readonly needs: readonly string[]
}

interface ImageName {
  readonly id: string
  readonly family: string
}

export class ImageStore {
  readonly #families: string

  /** The directory of all families' directories. */
  constructor(families: string) {
    this.#families = families
  }

  /** The directory of all images of a family. */
  allOf(family: string): string {
    return path.join(this.#families, family, 'images')
  }

  async prepareFamily(family: string): Promise<void> {
    await mkdir(this.allOf(family), { recursive: true, mode: 0o700 })
  }

  /** Who reads it sees the old record or the new. */
  async record(record: ImageRecord): Promise<void> {
    const file = this.#file(record)
    await writeFile(`${file}${RECORD}.new`, `${JSON.stringify({ format: FORMAT, ...record })}\n`, {
      mode: 0o600,
    })
    await rename(`${file}${RECORD}.new`, `${file}${RECORD}`)
  }

  /** Undefined unless it is there whole, as far as its length tells. */
  async read(image: ImageName): Promise<ImageRecord | undefined> {
    try {
      const record = JSON.parse(await readFile(`${this.#file(image)}${RECORD}`, 'utf8')) as ImageRecord
      const { size } = await stat(this.#file(image))
      return size === record.bytes ? record : undefined
    } catch {
      return undefined
    }
  }

  /** Null where there is none, undefined where it cannot be understood. */
  async readRecord(image: ImageName): Promise<ImageRecord | null | undefined> {
    return await readRecordFile(`${this.#file(image)}${RECORD}`, FORMAT)
  }

  /** Of its file; undefined where there is none. */
  async sizeOf(image: ImageName): Promise<number | undefined> {
    try {
      return (await stat(this.#file(image))).size
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }

  async remove(image: ImageName): Promise<void> {
    await rm(`${this.#file(image)}${RECORD}`, { force: true })
    await rm(this.#file(image), { force: true })
  }

  async strays(family: string, known: ReadonlySet<string>): Promise<string[]> {
    const isStray = (name: string): boolean =>
      UNFINISHED.some((end) => name.endsWith(end)) || !known.has(name.replace(/\.json$/, ''))
    return (await namesIn(this.allOf(family))).filter(isStray)
  }

  /** What nobody knows of, or has not been finished. */
  async removeStrays(family: string, known: ReadonlySet<string>): Promise<string[]> {
    const strays = await this.strays(family, known)
    for (const name of strays) await rm(path.join(this.allOf(family), name), { force: true, recursive: true })
    return strays
  }

  #file({ family, id }: ImageName): string {
    return path.join(this.allOf(family), id)
  }
}
