import { once } from 'node:events'
import { expect, it } from 'vitest'
import { OutputStream } from '../src/state/output-stream.js'

it('tells the output at once that its reader left, though it waits for more', async () => {
  let closed = 0
  const stream = new OutputStream({
    async *frames() {
      yield Buffer.from('first')
      await new Promise(() => undefined)
    },
    close: () => {
      closed += 1
    },
  })
  const [first] = await once(stream, 'data')
  expect(String(first)).toBe('first')
  stream.destroy()
  await once(stream, 'close')
  expect(closed).toBe(1)
})

it('takes no frame that nobody has room for', async () => {
  let taken = 0
  const stream = new OutputStream({
    async *frames() {
      for (;;) {
        taken += 1
        yield Buffer.alloc(50_000)
      }
    },
    close: () => undefined,
  })
  await once(stream, 'readable')
  await new Promise((resolve) => setImmediate(resolve))
  expect(taken).toBeLessThanOrEqual(2)
  stream.destroy()
})

it('closes after the last frame', async () => {
  let closed = 0
  const stream = new OutputStream({
    async *frames() {
      yield Buffer.from('all')
    },
    close: () => {
      closed += 1
    },
  })
  const pieces = await stream.toArray()
  expect([pieces.map(String), closed]).toEqual([['all'], 1])
})
