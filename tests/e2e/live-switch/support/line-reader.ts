/** Lines of a stream, as they come. */
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'

export class LineReader {
  readonly #lines: AsyncIterator<string>

  constructor(stream: Readable) {
    this.#lines = createInterface({ input: stream })[Symbol.asyncIterator]()
  }

  /** Undefined at the end of the stream. */
  async next(): Promise<string | undefined> {
    const { value, done } = await this.#lines.next()
    return done ? undefined : value
  }
}
