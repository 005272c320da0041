/** The output of one process as one sequence of frames (packages/protocol/src/commands.ts). */
import { DeltaBoxError, OUTPUT_FRAME_HEADER_BYTES, OutputFrame, type OutputQuery } from '@deltabox/protocol'
import { clientCame, clientLeft } from './client-grace.js'
import { errorBody } from './error-body.js'
import { Mailbox } from './mailbox.js'
import { OutputSource, type Piece } from './output-source.js'
import type { ProcessRow } from './process-table.js'
import { infoOf } from './processes.js'
import type { SandboxRow } from './sandbox-table.js'
import { labelOf } from './sandboxes.js'
import type { State } from './state.js'

/** A reader that does not follow gets what is there when it asks: no more than one ring holds, however fast it grows. */
const SNAPSHOT_MAX_BYTES = 4 * 1024 * 1024

/** What was sent last may be under way when the connection is lost: the client asks for it again. */
const KEPT_FOR_RETRY_BYTES = 1024 * 1024
const RELEASE_STEP_BYTES = 1024 * 1024

type Arrival =
  | { readonly kind: 'piece'; readonly stream: Stream; readonly piece: Piece }
  | { readonly kind: 'ended' }
  | { readonly kind: 'closed' }
  | { readonly kind: 'failed'; readonly error: unknown }

interface Stream {
  readonly number: 1 | 2
  readonly first: number
  offset: number
  released: number
  done: boolean
}

export class Output {
  readonly #state: State
  readonly #sandbox: SandboxRow
  readonly #row: ProcessRow
  readonly #query: OutputQuery
  readonly #source: OutputSource
  readonly #streams: readonly Stream[]
  readonly #mailbox = new Mailbox<Arrival>()
  readonly #unsubscribe: () => void
  #closed = false

  constructor(state: State, sandbox: SandboxRow, row: ProcessRow, query: OutputQuery) {
    this.#state = state
    this.#sandbox = sandbox
    this.#row = row
    this.#query = query
    this.#source = new OutputSource(state, sandbox, row)
    const offsets = row.tty ? [query.stdout ?? 0] : [query.stdout ?? 0, query.stderr ?? 0]
    this.#streams = offsets.map((offset, index) => ({
      number: index === 0 ? 1 : 2,
      first: offset,
      offset,
      released: offset,
      done: false,
    }))
    const running = state.running.get(sandbox.id, row.id)
    this.#unsubscribe = running?.onEnd(() => this.#mailbox.push({ kind: 'ended' })) ?? (() => undefined)
    if (query.attach) clientCame(state, row)
  }

  get #follows(): boolean {
    return this.#query.follow !== false
  }

  /** Call it when the reader is gone, whether or not it saw the end. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#unsubscribe()
    if (this.#query.attach) clientLeft(this.#state, this.#row)
    this.#mailbox.push({ kind: 'closed' })
  }

  async *frames(): AsyncGenerator<Buffer, void> {
    this.#stopAtRecordedEnd()
    for (const stream of this.#streams) {
      // A client that asks from an offset has what is before it.
      this.#releaseTo(stream, stream.first)
      this.#next(stream)
    }
    while (this.#streams.some((stream) => !stream.done)) {
      const arrival = await this.#mailbox.next()
      if (arrival.kind === 'closed') return
      if (arrival.kind === 'failed') return yield frame(OutputFrame.error, errorBody(arrival.error))
      if (arrival.kind === 'piece') yield* this.#deliver(arrival.stream, arrival.piece)
      else this.#stopAtRecordedEnd()
    }
    yield* this.#exitFrame()
  }

  /** The process may end after all it wrote has been read; its exit is reported all the same. */
  async *#exitFrame(): AsyncGenerator<Buffer, void> {
    for (let row = this.#current(); ; row = this.#current()) {
      if (row.state === 'exited') return yield frame(OutputFrame.exit, infoOf(row))
      if (row.state === 'lost') return yield frame(OutputFrame.error, errorBody(this.#lost()))
      if (!this.#follows) return
      const arrival = await this.#mailbox.next()
      if (arrival.kind === 'closed') return
    }
  }

  *#deliver(stream: Stream, piece: Piece): Generator<Buffer, void> {
    if (stream.done) return
    if (piece.offset > stream.offset && piece.data.length > 0) {
      yield frame(OutputFrame.gap, {
        stream: stream.number === 1 ? 'stdout' : 'stderr',
        offset: piece.offset,
      })
    }
    stream.offset = piece.offset + piece.data.length
    stream.done = piece.end || (piece.data.length === 0 && !this.#follows)
    this.#stopAtRecordedEnd()
    if (!this.#follows && stream.offset - stream.first >= SNAPSHOT_MAX_BYTES) stream.done = true
    if (piece.data.length > 0) {
      this.#state.metrics.bytesStreamed.inc({ direction: 'out', kind: 'output' }, piece.data.length)
      // The reader takes a frame when it has room for the next one: only then is more read.
      yield frame(stream.number === 1 ? OutputFrame.stdout : OutputFrame.stderr, piece.data)
      this.#release(stream)
    }
    if (!stream.done) this.#next(stream)
  }

  /**
   * The engine tells of an exit after everything the process wrote is readable, with the number of bytes. A background
   * child may keep the stream open and write more: that is not waited for.
   */
  #stopAtRecordedEnd(): void {
    const row = this.#current()
    if (row.state === 'running' || !this.#follows) return
    for (const stream of this.#streams) {
      const written = row.written?.[stream.number - 1] ?? 0
      if (stream.offset >= written) stream.done = true
    }
  }

  #next(stream: Stream): void {
    if (stream.done) return
    const reading = this.#follows
      ? this.#source.read(stream.number, stream.offset)
      : this.#source.readNow(stream.number, stream.offset)
    reading.then(
      (piece) => this.#mailbox.push({ kind: 'piece', stream, piece }),
      (error) => this.#mailbox.push({ kind: 'failed', error }),
    )
  }

  #release(stream: Stream): void {
    const delivered = stream.offset - KEPT_FOR_RETRY_BYTES
    if (delivered - stream.released >= RELEASE_STEP_BYTES) this.#releaseTo(stream, delivered)
  }

  #releaseTo(stream: Stream, offset: number): void {
    if (!this.#query.attach || offset === 0 || this.#current().state !== 'running') return
    stream.released = offset
    this.#source
      .release(stream.number, offset)
      .catch((error) => this.#mailbox.push({ kind: 'failed', error }))
  }

  #lost(): DeltaBoxError {
    const which = `process ${this.#row.id} in sandbox ${labelOf(this.#sandbox)}`
    return new DeltaBoxError('engine_lost', `how ${which} ended is unknown: its engine ended first`, {
      details: { sandbox: this.#sandbox.id, process: this.#row.id },
    })
  }

  #current(): ProcessRow {
    return this.#state.store.processes.get(this.#sandbox.id, this.#row.id) ?? this.#row
  }
}

function frame(type: number, payload: Uint8Array | object): Buffer {
  const bytes = payload instanceof Uint8Array ? payload : Buffer.from(JSON.stringify(payload))
  const header = Buffer.allocUnsafe(OUTPUT_FRAME_HEADER_BYTES)
  header.writeUInt8(type, 0)
  header.writeUInt32BE(bytes.length, 1)
  return Buffer.concat([header, bytes])
}
