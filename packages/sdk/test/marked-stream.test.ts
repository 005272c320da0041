import { PassThrough } from 'node:stream'
import { expect, it } from 'vitest'
import { MarkedStream, MarkMissing } from '../src/marked-stream.js'

const never = (): void => {
  throw new Error('there was not too much')
}

it.each([1, 2, 3, 7, 1000])('finds marks in pieces of %i bytes', async (size) => {
  const source = new PassThrough()
  const marked = new MarkedStream(source)
  const all = Buffer.from('one\0MAMARK:3\ntwoMARK:\nrest', 'latin1')
  const first = marked.until('MARK', 1000, never)
  for (let at = 0; at < all.length; at += size) source.write(all.subarray(at, at + size))
  expect(await first).toMatchObject({ before: Buffer.from('one\0MA'), tail: ':3' })
  expect(await marked.until('MARK', 1000, never)).toMatchObject({ before: Buffer.from('two'), tail: ':' })
  source.end()
  await expect(marked.until('MARK', 1000, never)).rejects.toThrow(MarkMissing)
  expect(marked.rest().toString()).toBe('rest')
})

it('tells of too much, drops the oldest and still finds the mark', async () => {
  const source = new PassThrough()
  let told = 0
  const found = new MarkedStream(source).until('MARK', 100, () => {
    told += 1
  })
  for (let i = 0; i < 50; i++) source.write('x'.repeat(20))
  source.write('MARK\n')
  expect((await found).before.length).toBeLessThanOrEqual(120)
  expect(told).toBeGreaterThan(0)
})
