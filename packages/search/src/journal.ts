/** A search as a file: one JSON document per line, written as things happen. What was being written when the program died is left out. */
import { type FileHandle, open, readFile } from 'node:fs/promises'
import type { Outcome } from './tree.js'

const VERSION = 1

/** What a search must have in common with the one that it goes on with. */
export interface JournalHead {
  readonly kind: 'search'
  readonly version: typeof VERSION
  readonly root: string
  /** The root was taken for it. */
  readonly isOwn: boolean
  readonly strategy: string
  readonly seed: number
  readonly width: number
}

export type JournalLine<A = unknown, O = unknown> =
  | JournalHead
  /** What sandboxes that it may work in from now on are called. */
  | { readonly kind: 'workers'; readonly sandboxes: readonly string[] }
  /** Children of these parents are made, with ids from `first` on. */
  | { readonly kind: 'selected'; readonly first: number; readonly parents: readonly number[] }
  | { readonly kind: 'node'; readonly outcome: Outcome<A, O> }
  | { readonly kind: 'dropped'; readonly nodes: readonly number[] }
  /** Its state cannot be gone back to any more. */
  | { readonly kind: 'lost'; readonly node: number; readonly reason: string }

export class Journal {
  readonly #file: FileHandle | undefined
  /** One line at a time. */
  #last: Promise<unknown> = Promise.resolve()

  private constructor(file: FileHandle | undefined) {
    this.#file = file
  }

  /** Without a path nothing is kept. */
  static async open(path: string | undefined): Promise<Journal> {
    const file = path === undefined ? undefined : await open(path, 'a', 0o600)
    // Behind a line that was cut short another would be lost with it.
    if (file && (await file.stat()).size > 0) await file.appendFile('\n')
    return new Journal(file)
  }

  async write(line: JournalLine): Promise<void> {
    const file = this.#file
    if (!file) return
    const written = this.#last.then(() => file.appendFile(`${JSON.stringify(line)}\n`))
    this.#last = written.catch(() => undefined)
    await written
  }

  async close(): Promise<void> {
    await this.#last
    await this.#file?.close()
  }
}

export function headOf(head: Omit<JournalHead, 'kind' | 'version'>): JournalHead {
  return { kind: 'search', version: VERSION, ...head }
}

/** Undefined where there is none. */
export async function readJournal(path: string): Promise<JournalLine[] | undefined> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  // The last line may have been cut short, and the next program went on behind it.
  const lines = text.split('\n').flatMap((line) => parsed(line))
  const [head] = lines
  if (lines.length === 0) return undefined
  if (head?.kind !== 'search' || head.version !== VERSION) {
    throw new Error(`${path} is not a search that this version knows`)
  }
  return lines
}

function parsed(line: string): JournalLine[] {
  try {
    return [JSON.parse(line) as JournalLine]
  } catch {
    return []
  }
}
