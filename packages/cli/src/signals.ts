import { constants } from 'node:os'

const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const

type Handler = (signal: NodeJS.Signals) => void

/**
 * Who takes the signals sent to us. While nobody does, they cancel what is under way (`cancelled`), so that what a command
 * made by then is removed on the way out.
 */
class Signals {
  readonly #cancel = new AbortController()
  #handler: Handler | undefined
  #listening = false

  /** Aborted by a signal that nobody handled; the reason is the signal's name. */
  get cancelled(): AbortSignal {
    this.#listen()
    return this.#cancel.signal
  }

  /** Gives signals to the handler until the returned function is called. */
  handle(handler: Handler): () => void {
    this.#listen()
    this.#handler = handler
    return () => {
      this.#handler = undefined
    }
  }

  /** The status of a tool that such a signal ended, where one did. */
  exitStatus(): number | undefined {
    const { aborted, reason } = this.#cancel.signal
    return aborted ? 128 + constants.signals[reason as NodeJS.Signals] : undefined
  }

  #listen(): void {
    if (this.#listening) return
    this.#listening = true
    for (const signal of FORWARDED) {
      process.on(signal, () => {
        if (this.#handler) this.#handler(signal)
        else this.#cancel.abort(signal)
      })
    }
  }
}

export const signals: Signals = new Signals()
