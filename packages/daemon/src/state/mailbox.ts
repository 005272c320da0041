/** Things that happen at their own time, taken one by one by one taker. */
export class Mailbox<T> {
  readonly #waiting: T[] = []
  #taker: ((item: T) => void) | undefined

  push(item: T): void {
    const taker = this.#taker
    this.#taker = undefined
    if (taker) taker(item)
    else this.#waiting.push(item)
  }

  next(): Promise<T> {
    const [first] = this.#waiting
    if (this.#waiting.length > 0) {
      this.#waiting.shift()
      return Promise.resolve(first as T)
    }
    return new Promise((resolve) => {
      this.#taker = resolve
    })
  }
}
