import { pino } from 'pino'
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { Families } from '../src/state/families.js'
import { Metrics } from '../src/state/metrics.js'
import { Pool } from '../src/state/pool.js'
import { NO_COUNTS } from './support/fake-engine.js'
import { FAMILY, type TemporaryStore, temporaryStore } from './support/temporary-store.js'

let the: TemporaryStore
beforeEach(async () => {
  the = await temporaryStore()
})
afterEach(() => the.close())

it('lets who wants an image wait while it goes', async () => {
  const { store } = the
  let answer: (reply: object) => void = () => undefined
  const request = (): Promise<object> =>
    new Promise((resolve) => {
      answer = resolve
    })
  const families = { get: () => ({ client: { request } }), retire: async () => undefined }
  const pool = new Pool({
    ...{ log: pino({ level: 'silent' }), store, metrics: new Metrics(NO_COUNTS) },
    families: families as unknown as Families,
    limits: { bytes: Number.MAX_SAFE_INTEGER, count: Number.MAX_SAFE_INTEGER },
  })
  store.images.insert({ id: 'cp-a', family: FAMILY, toDisk: true, memoryBytes: 1 })
  const dropped = pool.drop({ id: 'cp-a', family: FAMILY })
  const seen = pool.holding('cp-a', async () => store.images.get('cp-a')?.inMemory)
  answer({ images: [] })
  await dropped
  expect(await seen).toBe(false)
})
