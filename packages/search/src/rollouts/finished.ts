/** What comes in at its own pace is taken out at another's, in the same order. */
export class Finished<T extends object> implements AsyncIterable<T> {
  readonly #items: T[] = []
  #end: { readonly error?: unknown } | undefined
  #wake: () => void = () => undefined

  push(item: T): void {
    this.#items.push(item)
    this.#wake()
  }

  /** Nothing comes any more. */
  end(): void {
    this.#end ??= {}
    this.#wake()
  }

  /** The error is thrown behind what has come. */
  fail(error: unknown): void {
    this.#end ??= { error }
    this.#wake()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, void> {
    for (;;) {
      const item = this.#items.shift()
      if (item !== undefined) yield item
      else if (this.#end) break
      else await new Promise<void>((resolve) => (this.#wake = resolve))
    }
    if ('error' in this.#end) throw this.#end.error
  }
}
