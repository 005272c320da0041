/** The sandboxes that a search works in. Each goes to whatever state is wanted next: what it was in before does not matter. */
import type { Checkpoint, Sandbox } from 'deltabox'
import { type Forks, lostOf } from './forks.js'
import { throughInterruptions } from './interruptions.js'

export interface Kept {
  readonly checkpoint: string
  /** From the call to its return. */
  readonly ms: number
  readonly blockingMs: number
}

/** What was needed to come to a state. */
export interface Went {
  readonly way: 'none' | 'rollback' | 'fork'
  /** Of the rollback alone; 0 where it was there already. */
  readonly rollbackMs: number
}

export class Worker {
  readonly #forks: Forks
  #box: Sandbox
  /** Those it had before. */
  readonly #unwanted: Sandbox[] = []
  /** The checkpoint that its state is the same as; undefined once something was done in it. */
  #at: string | undefined
  #isHaunted = false
  #keeping: Promise<unknown> = Promise.resolve()
  /** In sandboxes that it had before. */
  readonly #taken: Checkpoint[] = []

  constructor(forks: Forks, box: Sandbox) {
    this.#forks = forks
    this.#box = box
    this.#at = forks.checkpoint.id
  }

  get box(): Sandbox {
    return this.#box
  }

  /** Something is about to be done in it. */
  touch(): void {
    this.#at = undefined
  }

  /** Somebody did not stop when told to, and may still work with the sandbox: it is not used again. */
  giveUp(): void {
    this.#isHaunted = true
  }

  async goTo(checkpoint: string): Promise<Went> {
    await this.#keeping
    const way = this.#isHaunted ? 'fork' : 'none'
    if (this.#isHaunted) await this.#renew()
    if (this.#at === checkpoint) return { way, rollbackMs: 0 }
    this.#at = undefined
    const started = performance.now()
    const { lost } = await this.#box.rollback(checkpoint)
    if (lost > 0) throw lostOf(checkpoint, lost)
    this.#at = checkpoint
    return { way: 'rollback', rollbackMs: performance.now() - started }
  }

  async #renew(): Promise<void> {
    const [box] = await this.#forks.make(1)
    if (!box) throw new Error('no sandbox was made')
    this.#unwanted.push(this.#box)
    this.#box = box
    await this.#forks.expectWhole()
    this.#at = this.#forks.checkpoint.id
    this.#isHaunted = false
    await this.#killUnwanted()
  }

  async #killUnwanted(): Promise<void> {
    for (let box = this.#unwanted[0]; box; box = this.#unwanted[0]) {
      this.#taken.push(...(await box.checkpoints()))
      await box.kill()
      this.#unwanted.shift()
    }
  }

  /** Of its state as it is now. It does not go elsewhere before that is taken, so nobody needs to wait for it. */
  keep(label: string, signal: AbortSignal): Promise<Kept> {
    const keeping = this.#keep(label, signal)
    this.#keeping = keeping.catch(() => undefined)
    return keeping
  }

  async #keep(label: string, signal: AbortSignal): Promise<Kept> {
    const started = performance.now()
    const { id, blockingMs } = await throughInterruptions(() => this.#box.checkpoint(label), signal)
    this.#at = id
    return { checkpoint: id, ms: performance.now() - started, blockingMs }
  }

  /** Its checkpoints stay. */
  async close(): Promise<void> {
    await this.#killUnwanted()
    await this.#box.kill()
  }

  /** It goes, and of its checkpoints those that are not to be kept: a step may have failed after one was taken. */
  async end(keep: ReadonlySet<string>): Promise<void> {
    await this.#keeping
    await this.#killUnwanted()
    for (const one of this.#taken) if (!keep.has(one.id)) await one.delete()
    await endSandbox(this.#box, keep)
  }
}

export class Workers {
  readonly #forks: Forks
  readonly #all: Worker[]
  readonly #free: Worker[]
  readonly #waiting: ((worker: Worker) => void)[] = []

  private constructor(forks: Forks, boxes: readonly Sandbox[]) {
    this.#forks = forks
    this.#all = boxes.map((box) => new Worker(forks, box))
    this.#free = [...this.#all]
  }

  static async open(forks: Forks, count: number): Promise<Workers> {
    return new Workers(forks, await forks.make(count))
  }

  async use<T>(work: (worker: Worker) => Promise<T>): Promise<T> {
    const worker = this.#free.pop() ?? (await new Promise<Worker>((resolve) => this.#waiting.push(resolve)))
    try {
      return await work(worker)
    } finally {
      const next = this.#waiting.shift()
      if (next) next(worker)
      else this.#free.push(worker)
    }
  }

  /** Of their checkpoints those stay. */
  async close(keep: ReadonlySet<string>): Promise<void> {
    await Promise.all(this.#all.map((worker) => worker.end(keep)))
    await this.#forks.removeUnanswered()
  }
}

/** What it stands on can go only after it. */
export async function endSandbox(box: Sandbox, keep: ReadonlySet<string>): Promise<void> {
  const taken = await box.checkpoints()
  await box.kill()
  for (const one of taken) if (!keep.has(one.id)) await one.delete()
}
