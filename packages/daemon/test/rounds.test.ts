import { expect, it } from 'vitest'
import { Rounds } from '../src/state/rounds.js'

interface Played {
  readonly rounds: Rounds
  /** One for each round that has begun: ends it. */
  readonly ends: ((error?: Error) => void)[]
  readonly failures: unknown[]
}

function play(): Played {
  const ends: Played['ends'] = []
  const failures: unknown[] = []
  const work = (): Promise<void> =>
    new Promise((resolve, reject) => ends.push((error) => (error ? reject(error) : resolve())))
  return { rounds: new Rounds(work, (error) => failures.push(error)), ends, failures }
}

it('makes one round of all that is asked for while one goes on', async () => {
  const { rounds, ends } = play()
  rounds.ask()
  rounds.ask()
  rounds.ask()
  expect(ends.length).toBe(1)
  ends[0]?.()
  await expect.poll(() => ends.length).toBe(2)
  ends[1]?.()
  await rounds.settled()
  expect(ends.length).toBe(2)
})

it('goes on after a round that fails', async () => {
  const { rounds, ends, failures } = play()
  rounds.ask()
  rounds.ask()
  ends[0]?.(new Error('no room'))
  await expect.poll(() => ends.length).toBe(2)
  ends[1]?.()
  await rounds.settled()
  expect(failures).toEqual([new Error('no room')])
})

it('loses nothing that is asked for in whatever moment a round ends', async () => {
  for (let moment = 0; moment < 20; moment++) {
    const { rounds, ends } = play()
    rounds.ask()
    ends[0]?.()
    for (let i = 0; i < moment; i++) await Promise.resolve()
    const begun = ends.length
    rounds.ask()
    await new Promise(setImmediate)
    expect(ends.length, `${moment}`).toBe(begun + 1)
    ends[begun]?.()
    await rounds.settled()
  }
})

it('is settled while nothing is asked for', async () => {
  await play().rounds.settled()
})
