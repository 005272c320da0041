/** Reading the ring files of one process through its engine. */
import type { Ok, Parameters } from '../engine/messages.js'
import type { ProcessRow } from './process-table.js'
import { doing } from './processes.js'
import type { SandboxRow } from './sandbox-table.js'
import { ask } from './sandboxes.js'
import type { State } from './state.js'

const CHUNK_BYTES = 128 * 1024

export type Piece = Ok<'process.read'>

/**
 * Reads that wait for output, by process, stream and offset. A read whose reader went away stays with the engine until
 * there is output; readers that come and go share it, so that they do not pile up there.
 */
const waitingReads = new WeakMap<State, Map<string, Promise<Piece>>>()

export class OutputSource {
  readonly #state: State
  readonly #sandbox: SandboxRow
  readonly #row: ProcessRow
  readonly #waiting: Map<string, Promise<Piece>>

  constructor(state: State, sandbox: SandboxRow, row: ProcessRow) {
    this.#state = state
    this.#sandbox = sandbox
    this.#row = row
    this.#waiting = waitingReads.get(state) ?? new Map()
    waitingReads.set(state, this.#waiting)
  }

  /** Waits until there is at least one byte at the offset, or never will be. */
  read(stream: 1 | 2, offset: number): Promise<Piece> {
    const key = `${this.#sandbox.id}/${this.#row.id}/${stream}/${offset}`
    const shared = this.#waiting.get(key)
    if (shared !== undefined) return shared
    const reading = this.#ask({ stream, offset, max: CHUNK_BYTES, wait: true })
    this.#waiting.set(key, reading)
    const settled = (): void => {
      this.#waiting.delete(key)
    }
    reading.then(settled, settled)
    return reading
  }

  /** Empty when there is nothing at this moment. */
  readNow(stream: 1 | 2, offset: number): Promise<Piece> {
    return this.#ask({ stream, offset, max: CHUNK_BYTES, wait: false })
  }

  /** What lies before the offset need not be kept any more. */
  async release(stream: 1 | 2, offset: number): Promise<void> {
    await this.#ask({ stream, offset, max: 1, wait: false, release: offset })
  }

  #ask(what: Omit<Parameters<'process.read'>, 'sandbox' | 'process'>): Promise<Piece> {
    const saying = doing(this.#sandbox, this.#row, 'read output of')
    const parameters = { sandbox: this.#sandbox.id, process: this.#row.id, ...what }
    return ask(this.#state, this.#sandbox, saying, 'process.read', parameters)
  }
}
