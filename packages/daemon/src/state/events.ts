import type { DaemonEvent } from '@deltabox/protocol'

export type Listener = (event: DaemonEvent) => void

export class Events {
  readonly #listeners = new Set<Listener>()

  emit(event: Omit<DaemonEvent, 'at'>): void {
    const dated: DaemonEvent = { ...event, at: new Date().toISOString() }
    for (const listener of this.#listeners) listener(dated)
  }

  /** Returns what ends the subscription. */
  subscribe(listener: Listener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}
