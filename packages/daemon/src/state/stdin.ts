import type { Readable } from 'node:stream'
import { DeltaBoxError } from '@deltabox/protocol'
import { doing, findProcess } from './processes.js'
import { ask, findSandbox } from './sandboxes.js'
import type { State } from './state.js'

const CHUNK_BYTES = 256 * 1024

/**
 * Passes the body on as fast as the process reads. The engine takes one write to a process at a time; bodies sent at
 * once are mixed by pieces, as two writers to one pipe are.
 */
export async function writeStdin(
  state: State,
  reference: string,
  process: string,
  body: Readable,
  close: boolean,
): Promise<void> {
  const sandbox = findSandbox(state, reference)
  const row = findProcess(state, sandbox, process)
  const saying = doing(sandbox, row, 'write to')
  if (row.state !== 'running') {
    throw new DeltaBoxError('stdin_closed', `cannot ${saying}: it has ended`)
  }
  const inTurn = <T>(task: () => Promise<T>): Promise<T> =>
    state.serial.run(`${sandbox.id}/${row.id}/stdin`, task)
  for await (const data of chunksOf(body)) {
    await inTurn(() =>
      ask(state, sandbox, saying, 'process.write', { sandbox: sandbox.id, process: row.id, data }),
    )
    state.metrics.bytesStreamed.inc({ direction: 'in', kind: 'input' }, data.length)
  }
  if (close) {
    await inTurn(() =>
      ask(state, sandbox, saying, 'process.close-stdin', { sandbox: sandbox.id, process: row.id }),
    )
  }
}

/**
 * A request body in pieces that fit into a frame. Leaving the loop early must not destroy the stream: its socket still
 * has to carry the error to the client.
 */
export async function* chunksOf(body: Readable): AsyncGenerator<Uint8Array, void> {
  for await (const piece of body.iterator({ destroyOnReturn: false })) {
    const bytes = piece as Uint8Array
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) yield bytes.subarray(at, at + CHUNK_BYTES)
  }
}
