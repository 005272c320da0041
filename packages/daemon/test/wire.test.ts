import { encode } from 'cborg'
import { describe, expect, it } from 'vitest'
import {
  encodeFrame,
  FRAME_MAX_BYTES,
  FrameDecoder,
  FrameTooLargeError,
  WireError,
} from '../src/engine/wire.js'

/** Small, seeded, and good enough to choose cuts with. */
function randomFrom(seed: number): (limit: number) => number {
  let state = seed
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state % limit
  }
}

function framed(body: Uint8Array): Buffer {
  const header = Buffer.alloc(4)
  header.writeUInt32LE(body.length)
  return Buffer.concat([header, body])
}

describe('encodeFrame', () => {
  it('puts a little-endian length before a CBOR map', () => {
    expect(encodeFrame({ id: 1, op: 'x' }).toString('hex')).toBe(
      '0a000000a2626964016 26f706178'.replace(' ', ''),
    )
  })

  it('refuses what does not fit', () => {
    expect(() => encodeFrame({ data: Buffer.alloc(FRAME_MAX_BYTES) })).toThrow(FrameTooLargeError)
    expect(encodeFrame({ data: Buffer.alloc(FRAME_MAX_BYTES - 100) }).length).toBeLessThan(
      FRAME_MAX_BYTES + 4,
    )
  })
})

describe('FrameDecoder', () => {
  it.each(Array.from({ length: 200 }, (_, seed) => seed))(
    'gives back what was sent, however it is cut (%i)',
    (seed) => {
      const random = randomFrom(seed)
      const messages = Array.from({ length: 1 + random(20) }, (_, id) => ({
        id,
        data: Uint8Array.from({ length: random(3) === 0 ? random(5000) : random(20) }, () => random(256)),
      }))
      const bytes = Buffer.concat(messages.map(encodeFrame))
      const decoder = new FrameDecoder()
      const received: unknown[] = []
      for (let at = 0; at < bytes.length; ) {
        const length = 1 + (random(2) === 0 ? random(8) : random(4000))
        received.push(...decoder.push(bytes.subarray(at, at + length)))
        at += length
      }
      expect(received).toEqual(messages)
    },
  )

  it('reads maps of indefinite length, and integers larger than a double is exact for', () => {
    const body = Buffer.from('bf646374696d1b18a9e5b2c3d4e5f6ff', 'hex')
    expect(new FrameDecoder().push(framed(body))).toEqual([{ ctim: 0x18a9e5b2c3d4e5f6n }])
  })

  it.each([
    ['a length no frame has', Buffer.from([0xff, 0xff, 0xff, 0x7f])],
    ['what is no CBOR', framed(Buffer.from('ff', 'hex'))],
    ['what is no map', framed(encode([1]))],
    ['bytes after the map', framed(Buffer.concat([encode({}), Buffer.from([0])]))],
  ])('refuses %s', (_what, bytes) => {
    expect(() => new FrameDecoder().push(bytes)).toThrow(WireError)
  })
})
