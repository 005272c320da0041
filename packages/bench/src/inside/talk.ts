/** With a program that says one line for each line. */
const LONGEST_MS = 60_000

export class Talk {
  readonly #send: (line: string) => unknown
  readonly #lines: AsyncIterator<string>
  readonly #longestMs: number

  constructor(send: (line: string) => unknown, lines: AsyncIterator<string>, longestMs: number = LONGEST_MS) {
    this.#send = send
    this.#lines = lines
    this.#longestMs = longestMs
  }

  async ask(line: string): Promise<string> {
    await this.#send(`${line}\n`)
    return await this.next()
  }

  async next(): Promise<string> {
    let timer: NodeJS.Timeout | undefined
    const silence = new Promise<never>((_, reject) => {
      const error = new Error(`the program has said nothing for ${this.#longestMs / 1000} s`)
      timer = setTimeout(() => reject(error), this.#longestMs)
    })
    try {
      const { value, done } = await Promise.race([this.#lines.next(), silence])
      if (done) throw new Error('the program has ended')
      return value
    } finally {
      clearTimeout(timer)
    }
  }
}
