/** The checkpoints that graphs are storing, for those who need one that is not there yet. */
import { EventEmitter, once } from 'node:events'

/** A graph that has not begun to store a checkpoint by then will not: it begins in the turn in which its nodes do. */
const GRACE_MS = 2000

export class Puts {
  readonly #events = new EventEmitter().setMaxListeners(0)
  readonly #pending = new Map<string, number>()

  async during<T>(thread: string, put: () => Promise<T>): Promise<T> {
    this.#add(thread, 1)
    try {
      return await put()
    } finally {
      this.#add(thread, -1)
      this.#events.emit(`put ${thread}`)
    }
  }

  /** False when nothing comes any more. */
  async until(thread: string, isThere: () => Promise<boolean>): Promise<boolean> {
    for (;;) {
      const enough = new AbortController()
      const next = this.#next(thread, enough.signal)
      if (await isThere()) {
        enough.abort()
        return true
      }
      if (!(await next)) return false
    }
  }

  /** Whether there was one. */
  async #next(thread: string, signal: AbortSignal): Promise<boolean> {
    for (;;) {
      const grace = AbortSignal.timeout(GRACE_MS)
      try {
        await once(this.#events, `put ${thread}`, { signal: AbortSignal.any([signal, grace]) })
        return true
      } catch {
        if (signal.aborted || !this.#pending.has(thread)) return false
      }
    }
  }

  #add(thread: string, count: number): void {
    const pending = (this.#pending.get(thread) ?? 0) + count
    if (pending === 0) this.#pending.delete(thread)
    else this.#pending.set(thread, pending)
  }
}
