import { Readable } from 'node:stream'
import type { DaemonEvent } from '@deltabox/protocol'

const HEARTBEAT_MS = 15_000
/** A client that reads so little is cut off; it connects again and looks at the lists. */
const BACKLOG_MAX_BYTES = 1024 * 1024

type Subscribe = (listener: (event: DaemonEvent) => void) => () => unknown

/** Server-sent events. Comments in between show both sides that the connection lives. */
export class EventStream extends Readable {
  readonly #unsubscribe: () => unknown
  readonly #heartbeat: NodeJS.Timeout

  constructor(subscribe: Subscribe) {
    super()
    this.push(': deltabox\n\n')
    this.#unsubscribe = subscribe((event) =>
      this.#send(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`),
    )
    this.#heartbeat = setInterval(() => this.#send(':\n\n'), HEARTBEAT_MS)
  }

  #send(text: string): void {
    this.push(text)
    if (this.readableLength > BACKLOG_MAX_BYTES) this.destroy()
  }

  /** Events are pushed when they happen. */
  override _read(): void {}

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#unsubscribe()
    clearInterval(this.#heartbeat)
    callback(error)
  }
}
