/** Sandboxes made of one checkpoint, none of which is forgotten. */
import { randomBytes } from 'node:crypto'
import { type Checkpoint, type Client, DeltaBoxError, Sandbox } from 'deltabox'
import { isInterruption } from './interruptions.js'

/** Processes of the state could not be brought back: it is not what it was. */
export class StateLostError extends Error {
  override readonly name = 'StateLostError'
}

type Announce = (names: readonly string[]) => Promise<void>

export class Forks {
  readonly checkpoint: Checkpoint
  readonly #announce: Announce
  /** What was to be made when the answer did not come: it may be there. */
  readonly #unanswered = new Set<{ readonly name: string; readonly count: number }>()

  /** `announce` is told what they will be called, before they are made. */
  constructor(checkpoint: Checkpoint, announce: Announce = async () => undefined) {
    this.checkpoint = checkpoint
    this.#announce = announce
  }

  async make(count: number): Promise<Sandbox[]> {
    await this.removeUnanswered()
    const name = `${this.checkpoint.id.replace('cp-', 'of-')}-${randomBytes(4).toString('hex')}`
    await this.#announce(Array.from({ length: count }, (_, index) => `${name}-${index + 1}`))
    try {
      return await this.checkpoint.fork({ count, name })
    } catch (error) {
      if (isInterruption(error)) this.#unanswered.add({ name, count })
      throw error
    }
  }

  /** A fork does not tell that it is without its processes. Asked for afterwards: what is lost stays lost. */
  async expectWhole(): Promise<void> {
    const { id, processes } = this.checkpoint
    const { source } = await this.checkpoint.prefetch()
    if (source === null && processes > 0) throw lostOf(id, processes)
  }

  async removeUnanswered(): Promise<void> {
    const { client } = this.checkpoint
    for (const one of this.#unanswered) {
      for (let number = 1; number <= one.count; number++) await removeNamed(`${one.name}-${number}`, client)
      this.#unanswered.delete(one)
    }
  }
}

async function removeNamed(name: string, client: Client): Promise<void> {
  try {
    await (await Sandbox.connect(name, { client })).kill()
  } catch (error) {
    if (!(error instanceof DeltaBoxError && error.code === 'sandbox_not_found')) throw error
  }
}

export function lostOf(checkpoint: string, count: number): StateLostError {
  return new StateLostError(`${count} processes of ${checkpoint} are lost`)
}
