import { pino } from 'pino'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import type { Families } from '../src/state/families.js'
import { Metrics } from '../src/state/metrics.js'
import { Pool } from '../src/state/pool.js'
import { NO_COUNTS } from './support/fake-engine.js'
import { FAMILY, type TemporaryStore, temporaryStore } from './support/temporary-store.js'

let the: TemporaryStore
beforeEach(async () => {
  the = await temporaryStore()
})
afterEach(async () => {
  vi.useRealTimers()
  await the.close()
})

interface Played {
  readonly pool: Pool
  readonly asked: string[]
}

/** Whose engine answers as it is told. */
function play(answer: (image: string) => Promise<object>): Played {
  const asked: string[] = []
  const request = (_: string, { image }: { image: string }): Promise<object> => {
    asked.push(image)
    return answer(image)
  }
  const families = { get: () => ({ client: { request } }), retire: async () => undefined }
  const pool = new Pool({
    ...{ log: pino({ level: 'silent' }), store: the.store, metrics: new Metrics(NO_COUNTS) },
    families: families as unknown as Families,
    afterwards: the.afterwards,
    limits: { bytes: Number.MAX_SAFE_INTEGER, count: Number.MAX_SAFE_INTEGER },
  })
  return { pool, asked }
}

/** In memory and on disk, in the order they were used in. */
function addImages(count: number): string[] {
  const ids = Array.from({ length: count }, (_, at) => `cp-${at}`)
  vi.useFakeTimers({ toFake: ['Date'] })
  for (const [at, id] of ids.entries()) {
    vi.setSystemTime(at + 1)
    the.store.images.insert({ id, family: FAMILY, toDisk: true, memoryBytes: 10 })
    the.store.images.setState(id, 'ready')
    the.store.images.setOnDisk(id, 10, [])
  }
  vi.setSystemTime(count + 1)
  return ids
}

it('lets who wants an image wait while it goes', async () => {
  const { store } = the
  let answer: (reply: object) => void = () => undefined
  const { pool } = play(
    () =>
      new Promise((resolve) => {
        answer = resolve
      }),
  )
  store.images.insert({ id: 'cp-a', family: FAMILY, toDisk: true, memoryBytes: 1 })
  const dropped = pool.drop({ id: 'cp-a', family: FAMILY })
  const seen = pool.holding('cp-a', async () => store.images.get('cp-a')?.inMemory)
  answer({ images: [] })
  await dropped
  expect(await seen).toBe(false)
})

it('puts out what was not used for longest, as much as is too much, and looks through all once', async () => {
  addImages(100)
  const { pool, asked } = play(async () => ({ images: [] }))
  const resident = vi.spyOn(the.store.images, 'resident')
  await pool.shrinkTo({ bytes: 500, count: 70 })
  expect(asked).toEqual(Array.from({ length: 50 }, (_, at) => `cp-${at}`))
  expect(resident).toHaveBeenCalledTimes(1)
  await pool.shrinkTo({ bytes: 500, count: 49 })
  expect(asked.slice(50)).toEqual(['cp-50'])
})

it('looks again at what has changed while another went', async () => {
  addImages(6)
  const { images } = the.store
  let release = (): void => undefined
  let held: Promise<void> | undefined
  const { pool, asked } = play(async () => {
    held ??= pool.holding('cp-2', () => new Promise((resolve) => (release = resolve)))
    if (asked.length > 1) return { images: [] }
    images.setUsed('cp-1')
    return { images: [{ image: 'cp-3', bytes: 40 }] }
  })
  await pool.shrinkTo({ bytes: 25, count: 100 })
  expect(asked).toEqual(['cp-0', 'cp-3', 'cp-4', 'cp-5'])
  await pool.shrinkTo({ bytes: 0, count: 0 })
  expect(asked.slice(4)).toEqual(['cp-1'])
  release()
  await held
})

it('does not ask again for what could not go', async () => {
  addImages(3)
  const { pool, asked } = play(() => Promise.reject(new Error('no')))
  await pool.shrinkTo({ bytes: 0, count: 0 })
  expect(asked).toEqual(['cp-0', 'cp-1', 'cp-2'])
})
