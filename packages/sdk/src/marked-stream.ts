import type { Readable } from 'node:stream'

/** What is kept of what background commands print between two runs. */
const IDLE_BYTES = 1024 * 1024
const NEWLINE = 0x0a

interface Found {
  readonly before: Buffer
  /** What stands after the mark on its line. */
  readonly tail: string
}

interface Wanted {
  readonly mark: Buffer
  readonly limit: number
  onTooMuch(): void
  resolve(found: Found): void
  reject(error: Error): void
}

/** The stream ended before the mark came. */
export class MarkMissing extends Error {
  override readonly name = 'MarkMissing'
}

/** Cuts a stream at marks that may come in pieces. Bytes are looked at once, however many come before a mark. */
export class MarkedStream {
  /** Seen and without a mark. */
  #chunks: Buffer[] = []
  #bytes = 0
  /** The end of what was seen, where a mark may have begun. */
  #open: Buffer = Buffer.alloc(0)
  #wanted: Wanted | undefined
  #ended = false

  constructor(stream: Readable) {
    stream.on('data', (chunk: Buffer) => {
      this.#open = this.#open.length === 0 ? chunk : Buffer.concat([this.#open, chunk])
      this.#look()
    })
    stream.once('close', () => {
      this.#ended = true
      this.#wanted?.reject(new MarkMissing())
      this.#wanted = undefined
    })
  }

  /** Gives what came before the mark, or its last `limit` bytes when there was more. */
  until(mark: string, limit: number, onTooMuch: () => void): Promise<Found> {
    return new Promise((resolve, reject) => {
      this.#wanted = { mark: Buffer.from(mark), limit, onTooMuch, resolve, reject }
      // The mark may be in what came while nobody looked.
      this.#open = this.rest()
      this.#look()
      if (this.#ended && this.#wanted) reject(new MarkMissing())
    })
  }

  /** Takes what came since the last mark. */
  rest(): Buffer {
    const rest = Buffer.concat([...this.#chunks, this.#open])
    this.#open = Buffer.alloc(0)
    this.#chunks = []
    this.#bytes = 0
    return rest
  }

  #look(): void {
    const wanted = this.#wanted
    if (!wanted) {
      this.#setAside(this.#open.length)
      this.#forgetOldest(IDLE_BYTES)
      return
    }
    const at = this.#open.indexOf(wanted.mark)
    if (at < 0) {
      this.#setAside(this.#open.length - wanted.mark.length + 1)
      this.#refuseTooMuch(wanted)
      return
    }
    this.#setAside(at)
    const end = this.#open.indexOf(NEWLINE, wanted.mark.length)
    if (end >= 0) this.#deliver(wanted, end)
  }

  #deliver(wanted: Wanted, end: number): void {
    const tail = this.#open.subarray(wanted.mark.length, end).toString()
    const next = this.#open.subarray(end + 1)
    const before = Buffer.concat(this.#chunks)
    this.#chunks = []
    this.#bytes = 0
    this.#open = next
    this.#wanted = undefined
    wanted.resolve({ before, tail })
  }

  #setAside(length: number): void {
    if (length <= 0) return
    this.#chunks.push(this.#open.subarray(0, length))
    this.#bytes += length
    this.#open = this.#open.subarray(length)
  }

  #forgetOldest(limit: number): void {
    while (this.#bytes > limit) this.#bytes -= this.#chunks.shift()?.length ?? 0
  }

  /** The mark is still looked for: the stream is of use again behind it. */
  #refuseTooMuch({ limit, onTooMuch }: Wanted): void {
    if (this.#bytes <= limit) return
    onTooMuch()
    this.#forgetOldest(limit)
  }
}
