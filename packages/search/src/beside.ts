/** What is done with checkpoints while the search goes on, one after the other. */
import { type Checkpoint, type Client, DeltaBoxError, Sandbox } from 'deltabox'

export class Beside {
  readonly #client: Client
  #last: Promise<void> = Promise.resolve()
  /** Wanted, and not yet looked for. */
  readonly #wanted = new Set<string>()

  constructor(client: Client) {
    this.#client = client
  }

  /** They will not be gone back to. What stands on them keeps what it needs. */
  remove(checkpoints: readonly string[]): void {
    for (const id of checkpoints) {
      this.#wanted.delete(id)
      this.#then(id, (checkpoint) => checkpoint.delete())
    }
  }

  /** It may be gone back to soon. */
  prefetch(id: string): void {
    if (this.#wanted.has(id)) return
    this.#wanted.add(id)
    this.#then(id, async (checkpoint) => {
      if (this.#wanted.delete(id) && !checkpoint.inMemory) await checkpoint.prefetch()
    })
  }

  /** What cannot be done now is left: a checkpoint may be gone, or the daemon. */
  #then(id: string, work: (checkpoint: Checkpoint) => Promise<unknown>): void {
    this.#last = this.#last.then(async () => {
      try {
        await work(await Sandbox.getCheckpoint(id, { client: this.#client }))
      } catch (error) {
        if (!(error instanceof DeltaBoxError)) throw error
      }
    })
    // It is thrown to whoever waits for all.
    this.#last.catch(() => undefined)
  }

  async settled(): Promise<void> {
    await this.#last
  }
}
