import { pino } from 'pino'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { Afterwards } from '../src/state/afterwards.js'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

it('does everything in its order, a few milliseconds after the first', () => {
  const afterwards = new Afterwards(pino({ level: 'silent' }))
  const done: string[] = []
  afterwards.add(() => done.push('first'))
  vi.advanceTimersByTime(4)
  afterwards.add(() => done.push('second'))
  expect(done).toEqual([])
  vi.advanceTimersByTime(1)
  expect(done).toEqual(['first', 'second'])
})

it('does what comes of it in its own time', () => {
  const afterwards = new Afterwards(pino({ level: 'silent' }))
  const done: string[] = []
  afterwards.add(() => afterwards.add(() => done.push('later')))
  vi.advanceTimersByTime(5)
  expect(done).toEqual([])
  vi.advanceTimersByTime(5)
  expect(done).toEqual(['later'])
})

it('does it at once when the daemon stops, nothing twice, and what comes then not at all', () => {
  const afterwards = new Afterwards(pino({ level: 'silent' }))
  const task = vi.fn()
  afterwards.add(task)
  afterwards.stop()
  expect(task).toHaveBeenCalledTimes(1)
  afterwards.add(task)
  vi.advanceTimersByTime(50)
  expect(task).toHaveBeenCalledTimes(1)
})

it('tells of what fails, and does the rest', () => {
  const lines: string[] = []
  const afterwards = new Afterwards(pino({ level: 'error' }, { write: (line) => lines.push(line) }))
  const task = vi.fn()
  afterwards.add(() => {
    throw new Error('the disk is full')
  })
  afterwards.add(task)
  afterwards.finish()
  expect(task).toHaveBeenCalledTimes(1)
  expect(lines).toHaveLength(1)
  expect(lines[0]).toContain('the disk is full')
})
