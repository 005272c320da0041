import { pino } from 'pino'
import { expect, it, vi } from 'vitest'
import type { Pool } from '../src/state/pool.js'
import { isShort, type Memory, Pressure, parseMemory } from '../src/state/pressure.js'
import type { Store } from '../src/state/store.js'

const GB = 1024 ** 3
const enough: Memory = { totalBytes: 16 * GB, availableBytes: 8 * GB, stalledPercent: 0 }

it('takes little memory, or much waiting for it, for a shortage', () => {
  expect(isShort(enough)).toBe(false)
  expect(isShort({ ...enough, availableBytes: 0.2 * GB })).toBe(true)
  expect(isShort({ ...enough, stalledPercent: 30 })).toBe(true)
  // On a small host a fraction of all is little.
  expect(isShort({ totalBytes: GB, availableBytes: 0.1 * GB, stalledPercent: 0 })).toBe(false)
  expect(isShort({ totalBytes: GB, availableBytes: 0.05 * GB, stalledPercent: 0 })).toBe(true)
})

it('reads what the kernel tells', () => {
  const meminfo = 'MemTotal:       2000 kB\nMemFree:   100 kB\nMemAvailable:    500 kB\n'
  const stalls =
    'some avg10=12.50 avg60=3.00 avg300=1.00 total=5\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=1\n'
  expect(parseMemory(meminfo, stalls)).toEqual({
    totalBytes: 2_048_000,
    availableBytes: 512_000,
    stalledPercent: 12.5,
  })
  expect(parseMemory(meminfo, '').stalledPercent).toBe(0)
})

it('lets half of what is kept go while memory is short', async () => {
  const shrinkTo = vi.fn(async () => undefined)
  let memory = enough
  const pressure = new Pressure({
    log: pino({ level: 'silent' }),
    store: { images: { residentTotals: () => ({ bytes: 1000, count: 10 }) } } as unknown as Store,
    pool: { shrinkTo } as unknown as Pool,
    look: async () => memory,
  })
  await pressure.turn()
  expect(shrinkTo).not.toHaveBeenCalled()
  memory = { ...enough, availableBytes: 0 }
  await pressure.turn()
  expect(shrinkTo.mock.calls).toEqual([[{ bytes: 500, count: 5 }]])
})
