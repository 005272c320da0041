import { pino } from 'pino'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import type { Family } from '../src/state/families.js'
import { Spares } from '../src/state/spares.js'

const setup = { net: 'none', memoryBytes: 1 << 30, pids: 64, cpus: null } as const
const limits = { memoryBytes: 1 << 30, pids: 64 }
const log = pino({ level: 'silent' })

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

function familyThatListens(): { family: Family; asked: object[] } {
  const asked: object[] = []
  const request = async (_operation: string, wish: object): Promise<object> => {
    asked.push(wish)
    return {}
  }
  return { family: { id: 'f', client: { lost: false, request } } as unknown as Family, asked }
}

const taken = (image: string | null, processes = 1) => ({ image, sandbox: 'sb', processes })

it('wants as many again as were used, and no more than there is room for', () => {
  const { family, asked } = familyThatListens()
  const spares = new Spares(log)
  spares.used(family, setup, { image: 'a' }, 16)
  expect(asked.at(-1)).toEqual({ count: 1, images: [{ image: 'a', count: 16 }], limits })
  spares.used(family, setup, { image: 'a', sandbox: 'sb' }, 1)
  spares.used(family, setup, { image: 'b' }, 200)
  expect(asked.at(-1)).toEqual({
    count: 1,
    images: [
      { image: 'b', count: 63 },
      { image: 'a', sandbox: 'sb', count: 0 },
      { image: 'a', count: 0 },
    ],
    limits,
  })
  spares.used(family, setup, { image: 'a' }, 1)
  expect(asked.at(-1)).toMatchObject({ images: [{ image: 'a', count: 16 }, { image: 'b', count: 47 }, {}] })
  spares.used(family, setup, null, 3)
  expect(asked.at(-1)).toMatchObject({ count: 3 })
})

it('makes ready what was just taken, unless that is much, and forgets what is long ago', () => {
  const { family, asked } = familyThatListens()
  const spares = new Spares(log)
  for (const id of 'abcdefghi') spares.mayBeUsed(family, setup, taken(id))
  const images = [...'ihgfedcb'].map((image) => ({ image, sandbox: 'sb', count: 1 }))
  expect(asked.at(-1)).toEqual({ count: 1, images, limits })
  spares.mayBeUsed(family, setup, taken('many', 30))
  spares.mayBeUsed(family, setup, taken(null, 0))
  expect(asked.at(-1)).toEqual({ count: 1, images, limits })
})

it('gives back what was not used for a minute', () => {
  const { family, asked } = familyThatListens()
  const spares = new Spares(log)
  spares.used(family, setup, { image: 'a' }, 16)
  vi.advanceTimersByTime(59_000)
  spares.mayBeUsed(family, setup, taken('b'))
  vi.advanceTimersByTime(59_000)
  expect(asked.length).toBe(2)
  vi.advanceTimersByTime(2000)
  expect(asked.at(-1)).toEqual({ count: 1, images: [], limits })
})

it('wants none for the host’s network or without an engine', () => {
  const { family, asked } = familyThatListens()
  const spares = new Spares(log)
  spares.used(family, { ...setup, net: 'host' }, null, 3)
  spares.used(undefined, setup, null, 3)
  spares.mayBeUsed(family, { ...setup, net: 'host' }, taken('a'))
  expect(asked).toEqual([])
})
