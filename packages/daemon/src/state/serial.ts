/** One operation on a sandbox at a time, in the order they came; different sandboxes do not wait for each other. */
export class Serial {
  readonly #last = new Map<string, Promise<unknown>>()

  /** Once everything that was asked for by now is done. */
  async idle(): Promise<void> {
    await Promise.allSettled(this.#last.values())
  }

  run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key) ?? Promise.resolve()
    // The one before reports its own failure to its own caller.
    const mine = before.then(task, task)
    this.#last.set(key, mine)
    const leave = (): void => {
      if (this.#last.get(key) === mine) this.#last.delete(key)
    }
    mine.then(leave, leave)
    return mine
  }
}
