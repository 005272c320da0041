/** Work that may be done together, and such that is done alone. */
export class Mutex {
  #alone: Promise<unknown> = Promise.resolve()
  readonly #together = new Set<Promise<unknown>>()

  /** Not before what is done alone has ended. */
  async together<T>(work: () => Promise<T>): Promise<T> {
    for (let before: unknown; before !== this.#alone; ) {
      before = this.#alone
      await this.#alone
    }
    const mine = work()
    this.#together.add(mine)
    try {
      return await mine
    } finally {
      this.#together.delete(mine)
    }
  }

  /** Once what had begun has ended; what comes meanwhile waits. */
  async alone<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#alone
    const mine = (async (): Promise<T> => {
      await before
      await Promise.allSettled([...this.#together])
      return await work()
    })()
    this.#alone = mine.catch(() => undefined)
    return await mine
  }
}
