/** Work in the background that looks for itself what there is to do: whoever has something for it asks for a round. */
export class Rounds {
  readonly #work: () => Promise<void>
  readonly #failed: (error: unknown) => void
  #isAsked = false
  #going: Promise<void> | undefined

  /** `failed` is told what a round has thrown. */
  constructor(work: () => Promise<void>, failed: (error: unknown) => void) {
    this.#work = work
    this.#failed = failed
  }

  /** One that begins after this call; those that are asked for while one goes on are one. */
  ask(): void {
    this.#isAsked = true
    this.#going ??= this.#go()
  }

  /** Once no round is asked for any more. */
  async settled(): Promise<void> {
    while (this.#going !== undefined) await this.#going
  }

  async #go(): Promise<void> {
    while (this.#isAsked) {
      this.#isAsked = false
      try {
        await this.#work()
      } catch (error) {
        this.#failed(error)
      }
    }
    // With nothing in between that could ask.
    this.#going = undefined
  }
}
