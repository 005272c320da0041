import { pino } from 'pino'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { clientCame, clientLeft } from '../src/state/client-grace.js'
import { RunningProcesses } from '../src/state/running-process.js'
import type { State } from '../src/state/state.js'

const row = { sandbox: 'sb-a', id: 'p-a', waitsForReader: true }
let holds: boolean[]
let state: State

beforeEach(() => {
  vi.useFakeTimers()
  holds = []
  const request = async (_operation: string, parameters: { hold: boolean }): Promise<object> => {
    holds.push(parameters.hold)
    return {}
  }
  state = {
    log: pino({ level: 'silent' }),
    running: new RunningProcesses(),
    store: { sandboxes: { get: () => ({ engine: 'e' }) } },
    families: { get: () => ({ client: { request } }) },
  } as unknown as State
})
afterEach(() => vi.useRealTimers())

it('lets a command run when no client came for 30 seconds', () => {
  state.running.add(row.sandbox, row.id, true)
  clientLeft(state, row)
  vi.advanceTimersByTime(29_999)
  expect(holds).toEqual([])
  vi.advanceTimersByTime(1)
  expect(holds).toEqual([false])
})

it('waits for a client that comes back in time, and holds again for one that comes late', () => {
  state.running.add(row.sandbox, row.id, true)
  clientCame(state, row)
  clientLeft(state, row)
  vi.advanceTimersByTime(20_000)
  clientCame(state, row)
  vi.advanceTimersByTime(60_000)
  expect(holds).toEqual([])
  clientLeft(state, row)
  vi.advanceTimersByTime(30_000)
  clientCame(state, row)
  expect(holds).toEqual([false, true])
})

it('counts clients', () => {
  state.running.add(row.sandbox, row.id, true)
  clientCame(state, row)
  clientCame(state, row)
  clientLeft(state, row)
  vi.advanceTimersByTime(60_000)
  expect(holds).toEqual([])
})

it('leaves detached and ended commands alone', () => {
  const detached = { ...row, waitsForReader: false }
  state.running.add(row.sandbox, row.id, false)
  clientCame(state, detached)
  clientLeft(state, detached)
  vi.advanceTimersByTime(60_000)
  state.running.end(row.sandbox, row.id)
  clientLeft(state, row)
  vi.advanceTimersByTime(60_000)
  expect(holds).toEqual([])
})
