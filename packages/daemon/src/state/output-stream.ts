import { Readable } from 'node:stream'
import type { OutputQuery } from '@deltabox/protocol'
import { Output } from './output.js'
import { findProcess } from './processes.js'
import { findSandbox } from './sandboxes.js'
import type { State } from './state.js'

/** A frame or two: back-pressure reaches the engine when the client does not read. */
const BUFFER_BYTES = 64 * 1024

export function openOutput(state: State, reference: string, process: string, query: OutputQuery): Readable {
  const sandbox = findSandbox(state, reference)
  return new OutputStream(new Output(state, sandbox, findProcess(state, sandbox, process), query))
}

/**
 * Takes the next frame when there is room for it. When the reader leaves, whoever waits for output that may never come
 * is told at once; `Readable.from` would wait for it.
 */
export class OutputStream extends Readable {
  readonly #output: Pick<Output, 'frames' | 'close'>
  readonly #frames: AsyncGenerator<Buffer, void>

  constructor(output: Pick<Output, 'frames' | 'close'>) {
    super({ highWaterMark: BUFFER_BYTES })
    this.#output = output
    this.#frames = output.frames()
  }

  override _read(): void {
    this.#frames.next().then(
      ({ value }) => this.push(value ?? null),
      (error) => this.destroy(error),
    )
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#output.close()
    callback(error)
  }
}
