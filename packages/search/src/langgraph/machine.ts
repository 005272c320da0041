/** The sandbox of one thread, and which of the graph's checkpoints it goes on from. */
import type { Sandbox } from 'deltabox'
import type { Kept } from './kept.js'
import { isBelow, type Place, type Task } from './place.js'

export class Machine {
  readonly #open: () => Promise<Sandbox>
  #box: Promise<Sandbox> | undefined
  /** Empty while it is not known, as of a thread that another program has left. */
  #place = new Map<string, string>()
  /** The tasks that have used it since the outermost graph's last checkpoint, each with what tells its runs apart. */
  readonly #tasks = new Map<string, unknown>()
  #last: Promise<unknown> = Promise.resolve()
  #lastAt = 0

  constructor(open: () => Promise<Sandbox>) {
    this.#open = open
  }

  /** One that could not be opened is opened again when it is wanted next. */
  box(): Promise<Sandbox> {
    this.#box ??= this.#open().catch((error) => {
      this.#box = undefined
      throw error
    })
    return this.#box
  }

  get isOpen(): boolean {
    return this.#box !== undefined
  }

  /** What changes it, or keeps its state, is done one after the other in the order of the calls. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work)
    this.#last = done.catch(() => undefined)
    return done
  }

  /** Whether its state goes on from all of these. */
  standsOn(place: Place): boolean {
    return [...place].every(([namespace, id]) => this.#place.get(namespace) === id)
  }

  standsIn(namespace: string): string | undefined {
    return this.#place.get(namespace)
  }

  get isUsed(): boolean {
    return this.#tasks.size > 0
  }

  wasUsedBy(task: string): boolean {
    return this.#tasks.has(task)
  }

  /** A task that is run again does not find what it has begun and not ended. */
  isReadyFor({ place, id, run }: Task): boolean {
    return this.standsOn(place) && (this.#tasks.get(id) ?? run) === run
  }

  use({ id, outer, run }: Task): void {
    for (const one of outer) this.#tasks.set(one, this.#tasks.get(one))
    this.#tasks.set(id, run)
  }

  async keep(label: string): Promise<Kept> {
    const box = await this.box()
    const { id: checkpoint } = await box.checkpoint(label)
    this.#lastAt = Math.max(Date.now(), this.#lastAt + 1)
    return { checkpoint, sandbox: box.id, at: this.#lastAt }
  }

  async goTo({ checkpoint }: Kept, place: Place): Promise<void> {
    const box = await this.box()
    const { lost } = await box.rollback(checkpoint)
    this.#place = new Map(lost > 0 ? [] : place)
    this.#tasks.clear()
    if (lost > 0) throw new Error(`${lost} processes of ${checkpoint} are lost`)
  }

  /** The graph has made its next checkpoint of the state that it is in. */
  moveOn(namespace: string, id: string, parents: Place): void {
    for (const [parent, its] of parents) this.#place.set(parent, its)
    for (const other of [...this.#place.keys()]) if (isBelow(other, namespace)) this.#place.delete(other)
    this.#place.set(namespace, id)
    if (namespace === '') this.#tasks.clear()
  }
}
