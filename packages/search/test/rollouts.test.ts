import { DeltaBoxError } from 'deltabox'
import { describe, expect, it } from 'vitest'
import { StateLostError } from '../src/forks.js'
import { Finished } from '../src/rollouts/finished.js'
import { Meter } from '../src/rollouts/meter.js'
import { persevere } from '../src/rollouts/persevere.js'
import { Slots } from '../src/rollouts/slots.js'

describe('slots', () => {
  it('are never more than there are, and given in turn', async () => {
    const slots = new Slots(3)
    const began: number[] = []
    let atOnce = 0
    let most = 0
    const works = Array.from({ length: 20 }, (_, index) =>
      slots.use(async () => {
        began.push(index)
        atOnce += 1
        most = Math.max(most, atOnce)
        for (let turn = 0; turn < 1 + (index % 4); turn++) await Promise.resolve()
        atOnce -= 1
        if (index % 5 === 0) throw new Error(`${index}`)
        return index
      }),
    )
    const results = await Promise.allSettled(works)
    expect([most, atOnce]).toEqual([3, 0])
    expect(began).toEqual([...Array(20).keys()])
    expect(results.filter(({ status }) => status === 'rejected')).toHaveLength(4)
  })
})

describe('what has finished', () => {
  it('is taken out in the order in which it came in, before the error', async () => {
    const finished = new Finished<{ n: number }>()
    finished.push({ n: 1 })
    const taken: number[] = []
    const reading = (async () => {
      for await (const { n } of finished) taken.push(n)
    })()
    await Promise.resolve()
    finished.push({ n: 2 })
    finished.push({ n: 3 })
    finished.fail(new Error('the end'))
    finished.end()
    await expect(reading).rejects.toThrow('the end')
    expect(taken).toEqual([1, 2, 3])
  })

  it('ends, also where nothing came', async () => {
    const finished = new Finished<object>()
    finished.end()
    for await (const _ of finished) throw new Error('nothing was put in')
  })
})

describe('perseverance', () => {
  const { signal } = new AbortController()

  async function triesOf(
    error: unknown,
    retries: Parameters<typeof persevere>[0]['retries'],
  ): Promise<number[]> {
    const { counts } = new Meter()
    const attempts: number[] = []
    const work = persevere({ retries, signal, counts }, async (attempt) => {
      attempts.push(attempt)
      throw error
    })
    await expect(work).rejects.toBe(error)
    expect([counts.failures, counts.retries]).toEqual([attempts.length, attempts.length - 1])
    return attempts
  }

  it('goes by a number or a rule', async () => {
    const error = new Error('no')
    expect(await triesOf(error, 0)).toEqual([1])
    expect(await triesOf(error, 2)).toEqual([1, 2, 3])
    expect(await triesOf(error, (told, attempt) => told === error && attempt < 2)).toEqual([1, 2])
    expect(await triesOf(new StateLostError('it is lost'), 5)).toEqual([1])
    expect(await triesOf(new DeltaBoxError('sandbox_dead', 'it is'), 1)).toEqual([1, 2])
  })

  it('waits where the daemon or an engine is gone, which is no attempt', async () => {
    const { counts } = new Meter()
    const errors = [
      new DeltaBoxError('daemon_unreachable', 'it is'),
      new DeltaBoxError('fork_failed', 'no', { details: { code: 'engine_lost' } }),
      new Error('it told so', { cause: new DeltaBoxError('engine_lost', 'it is') }),
    ]
    const answer = await persevere({ retries: 0, signal, counts }, async (attempt) => {
      const error = errors.shift()
      if (error) throw error
      return attempt
    })
    expect([answer, counts.interruptions, counts.failures]).toEqual([1, 3, 0])
  })

  it('ends at once when aborted, while it waits too', async () => {
    const stop = new AbortController()
    const reason = new Error('enough')
    const { counts } = new Meter()
    const work = persevere({ retries: 9, signal: stop.signal, counts }, async () => {
      setImmediate(() => stop.abort(reason))
      throw new DeltaBoxError('engine_lost', 'it is')
    })
    await expect(work).rejects.toBe(reason)
    const never = persevere({ retries: 9, signal: stop.signal, counts }, async () => 1)
    await expect(never).rejects.toBe(reason)
  })
})
