import { describe, expect, it } from 'vitest'
import { OutputDecoder } from '../src/output-decoder.js'

function frame(type: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(5)
  header.writeUInt8(type, 0)
  header.writeUInt32BE(payload.length, 1)
  return Buffer.concat([header, payload])
}

/** A small generator with a seed, so that a failure can be run again. */
function random(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return (state >>> 8) % below
  }
}

describe('frames cut anywhere', () => {
  it.each(Array.from({ length: 50 }, (_, seed) => seed + 1))(
    'come out whole and in order (seed %i)',
    (seed) => {
      const below = random(seed)
      const frames = Array.from({ length: 20 }, () => ({
        type: 1 + below(4),
        payload: Buffer.from(Array.from({ length: below(300) }, () => below(256))),
      }))
      const bytes = Buffer.concat(frames.map(({ type, payload }) => frame(type, payload)))
      const decoder = new OutputDecoder()
      const out: { type: number; payload: Buffer }[] = []
      for (let at = 0; at < bytes.length; ) {
        const size = 1 + below(200)
        out.push(
          ...decoder
            .push(bytes.subarray(at, at + size))
            .map(({ type, payload }) => ({ type, payload: Buffer.from(payload) })),
        )
        at += size
      }
      expect(out).toEqual(frames)
    },
  )
})
