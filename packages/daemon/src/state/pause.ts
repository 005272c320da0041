/** Work in the background that is better done for many at once. */
export class Pause {
  #timer: NodeJS.Timeout | undefined
  #end: (() => void) | undefined

  /** One at a time. */
  take(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#end = resolve
      this.#timer = setTimeout(resolve, ms)
    })
  }

  end(): void {
    clearTimeout(this.#timer)
    this.#end?.()
  }
}
