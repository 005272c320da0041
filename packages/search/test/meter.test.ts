import { describe, expect, it } from 'vitest'
import { Meter, occupation } from '../src/rollouts/meter.js'

/** A clock that is set by hand. */
class Clock {
  now = 0
  readonly meter: Meter = new Meter(() => this.now)

  /** What takes until it is told to end. */
  begin(kind: 'generating' | 'waiting'): () => Promise<void> {
    let end = (): void => undefined
    const work = this.meter[kind](() => new Promise<void>((resolve) => (end = resolve)))
    return async () => {
      end()
      await work
    }
  }
}

describe('occupation', () => {
  it('is the part of the time that generation and training take', () => {
    expect(occupation({ generationMs: 1822, exposedMs: 0, trainMs: 1144 })).toBe(1)
    expect(occupation({ generationMs: 1822, exposedMs: 2966, trainMs: 1144 })).toBe(0.5)
    expect(occupation({ generationMs: 3289, exposedMs: 410.4, trainMs: 4509 })).toBeCloseTo(0.95, 3)
    expect(occupation({ generationMs: 0, exposedMs: 10 })).toBe(0)
    expect(occupation({ generationMs: 0, exposedMs: 0 })).toBe(1)
  })
})

describe('a meter', () => {
  it('counts by the clock, however many there are at a time', async () => {
    const clock = new Clock()
    const wait = [clock.begin('waiting'), clock.begin('waiting')]
    clock.now = 10
    const ask = [clock.begin('generating'), clock.begin('generating')]
    clock.now = 30
    await ask[0]?.()
    clock.now = 60
    await ask[1]?.()
    clock.now = 65
    for (const end of wait) await end()
    clock.now = 1000
    const report = clock.meter.report(100)
    expect(report).toMatchObject({ generationMs: 50, policyMs: 70, exposedMs: 15, trainMs: 100 })
    expect(report.occupation).toBeCloseTo(150 / 165)
  })

  it('counts as hidden what was done while a policy was asked, or while nobody waited', async () => {
    const clock = new Clock()
    const endAlone = clock.meter.start()
    clock.now = 5
    expect(endAlone('rollback')).toBe(5)
    const wait = clock.begin('waiting')
    const endStep = clock.meter.start()
    const endReset = clock.meter.start()
    clock.now = 12
    const ask = clock.begin('generating')
    clock.now = 20
    expect([endStep('step'), endReset('step')]).toEqual([15, 15])
    await ask()
    await wait()
    const { rollback, step, sandboxMs, exposedMs } = clock.meter.report(0)
    expect(rollback).toEqual({ count: 1, ms: 5, hiddenMs: 5 })
    expect(step).toEqual({ count: 2, ms: 30, hiddenMs: 16 })
    expect([sandboxMs, exposedMs]).toEqual([35, 7])
  })

  it('counts what fails, too', async () => {
    const clock = new Clock()
    const told: number[] = []
    const failing = clock.meter.generating(
      async () => {
        clock.now = 4
        throw new Error('no answer')
      },
      (ms) => told.push(ms),
    )
    await expect(failing).rejects.toThrow('no answer')
    clock.now = 9
    expect(clock.meter.report(0)).toMatchObject({ generationMs: 4, policyMs: 4 })
    expect(told).toEqual([4])
  })
})
