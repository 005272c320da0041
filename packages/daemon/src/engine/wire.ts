/** The daemon's side of docs/engine-protocol.md: length-prefixed CBOR maps. */
import { decode, encode } from 'cborg'

export const WIRE_VERSION = 1
export const FRAME_MAX_BYTES: number = 1024 * 1024
const HEADER_BYTES = 4

export type Fields = Readonly<Record<string, unknown>>

/** The peer does not speak the protocol; the connection is of no more use. */
export class WireError extends Error {
  override readonly name = 'WireError'
}

/** A request of the daemon's is larger than a frame may be. */
export class FrameTooLargeError extends Error {
  override readonly name = 'FrameTooLargeError'
}

export function encodeFrame(message: Fields): Buffer {
  const body = encode(message)
  if (body.length > FRAME_MAX_BYTES) {
    throw new FrameTooLargeError(`${body.length} bytes; at most ${FRAME_MAX_BYTES} fit into one request`)
  }
  const frame = Buffer.allocUnsafe(HEADER_BYTES + body.length)
  frame.writeUInt32LE(body.length, 0)
  frame.set(body, HEADER_BYTES)
  return frame
}

/** Puts frames together from whatever pieces the socket delivers. */
export class FrameDecoder {
  #pieces: Buffer[] = []
  #have = 0
  #need = HEADER_BYTES

  push(piece: Buffer): Fields[] {
    this.#pieces.push(piece)
    this.#have += piece.length
    if (this.#have < this.#need) return []
    return this.#takeFrames(this.#pieces.length === 1 ? piece : Buffer.concat(this.#pieces, this.#have))
  }

  #takeFrames(data: Buffer): Fields[] {
    const messages: Fields[] = []
    let at = 0
    for (;;) {
      this.#need = HEADER_BYTES
      if (data.length - at < this.#need) break
      const length = data.readUInt32LE(at)
      if (length > FRAME_MAX_BYTES) throw new WireError(`a frame of ${length} bytes`)
      this.#need += length
      if (data.length - at < this.#need) break
      messages.push(decodeBody(data.subarray(at + HEADER_BYTES, at + this.#need)))
      at += this.#need
    }
    this.#pieces = at < data.length ? [data.subarray(at)] : []
    this.#have = data.length - at
    return messages
  }
}

function decodeBody(body: Buffer): Fields {
  let message: unknown
  try {
    message = decode(body)
  } catch (cause) {
    throw new WireError('a frame that is not CBOR', { cause })
  }
  if (typeof message !== 'object' || message === null || Array.isArray(message)) {
    throw new WireError('a frame that is not a map')
  }
  return message as Fields
}
