import { masked } from '@deltabox/search'
import { describe, expect, it } from 'vitest'

function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void; reject: (error: Error) => void } {
  let resolve: (value: T) => void = () => undefined
  let reject: (error: Error) => void = () => undefined
  const promise = new Promise<T>((good, bad) => {
    resolve = good
    reject = bad
  })
  return { promise, resolve, reject }
}

describe('masked', () => {
  it('starts the wait, then the work, and gives both', async () => {
    const order: string[] = []
    const both = await masked(
      async () => {
        order.push('asked')
        return 'answer'
      },
      async () => {
        order.push('worked')
        return 7
      },
    )
    expect(order).toEqual(['asked', 'worked'])
    expect(both).toMatchObject({ answer: 'answer', result: 7 })
  })

  it('tells how much of the work was hidden: all of it when the answer comes last', async () => {
    const answer = deferred<string>()
    const running = masked(answer.promise, async () => undefined)
    await new Promise((resolve) => setTimeout(resolve, 20))
    answer.resolve('late')
    const { waitMs, workMs, hiddenMs } = await running
    expect(hiddenMs).toBe(workMs)
    expect(waitMs).toBeGreaterThanOrEqual(19)
  })

  it('and as much as there was to wait when it comes first', async () => {
    const work = deferred<string>()
    const running = masked(Promise.resolve('soon'), () => work.promise)
    await new Promise((resolve) => setTimeout(resolve, 20))
    work.resolve('done')
    const { waitMs, workMs, hiddenMs } = await running
    expect(hiddenMs).toBe(waitMs)
    expect(workMs).toBeGreaterThanOrEqual(19)
  })

  it('throws what failed only when both have ended, the wait before the work', async () => {
    const work = deferred<string>()
    let isOver = false
    const running = masked(Promise.reject(new Error('no answer')), () => work.promise).finally(() => {
      isOver = true
    })
    running.catch(() => undefined)
    await new Promise((resolve) => setTimeout(resolve, 5))
    expect(isOver).toBe(false)
    work.reject(new Error('no result'))
    await expect(running).rejects.toThrow('no answer')
    await expect(masked(Promise.resolve(1), () => Promise.reject(new Error('no result')))).rejects.toThrow(
      'no result',
    )
  })
})
