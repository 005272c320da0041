import { describe, expect, it } from 'vitest'
import { parseSize } from '../src/size.js'

describe('sizes', () => {
  it.each([
    ['1', 1],
    ['64k', 65_536],
    ['512m', 536_870_912],
    ['512M', 536_870_912],
    ['2g', 2_147_483_648],
    ['2GiB', 2_147_483_648],
    ['1.5g', 1_610_612_736],
    ['1t', 1_099_511_627_776],
    [4096, 4096],
  ])('%s is %i bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes)
  })

  it.each(['', 'x', '1x', '-1', '0', 'g', '1 2', 'Infinity', 'NaN'])(
    '%j is refused, with the value in the message',
    (text) => {
      expect(() => parseSize(text, 'memory')).toThrow(
        expect.objectContaining({
          code: 'invalid_request',
          message: expect.stringContaining(JSON.stringify(text)),
        }),
      )
    },
  )
})
