import { describe, expect, it } from 'vitest'
import { stopOnSignals } from '../../src/view/stop-on-signals.js'

describe('stopOnSignals', () => {
  it('aborts at the first signal, tells how to go on, and leaves the second to whoever had it before', () => {
    const told: string[] = []
    const stop = stopOnSignals({
      file: 'search.jsonl',
      signals: ['SIGUSR2'],
      tell: (text) => told.push(text),
    })
    expect(stop.signal.aborted).toBe(false)
    process.emit('SIGUSR2', 'SIGUSR2')
    expect(stop.signal.reason).toBe('SIGUSR2')
    expect(told).toEqual([
      'Stopping. What is made is in search.jsonl: the same search goes on from there. Once more ends this at once.',
    ])
    expect(process.listenerCount('SIGUSR2')).toBe(0)
  })

  it('leaves nothing behind', () => {
    const stop = stopOnSignals({ signals: ['SIGUSR2'] })
    expect(process.listenerCount('SIGUSR2')).toBe(1)
    stop.release()
    expect(process.listenerCount('SIGUSR2')).toBe(0)
  })
})
