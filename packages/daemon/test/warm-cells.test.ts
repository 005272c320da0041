import { pino } from 'pino'
import { expect, it } from 'vitest'
import type { Family } from '../src/state/families.js'
import { WarmCells } from '../src/state/warm-cells.js'

const none = { net: 'none' } as const
const log = pino({ level: 'silent' })

function familyThatCounts(): { family: Family; asked: number[] } {
  const asked: number[] = []
  const request = async (_operation: string, { count }: { count: number }): Promise<object> => {
    asked.push(count)
    return { count }
  }
  return { family: { id: 'f', client: { lost: false, request } } as unknown as Family, asked }
}

it('makes as many as were used, one after the other, and few enough', async () => {
  const { family, asked } = familyThatCounts()
  const cells = new WarmCells(log)
  cells.used(family, none, 3)
  await expect.poll(() => asked).toEqual([1, 2, 3])
  cells.used(family, none, 1)
  cells.used(family, none, 200)
  await expect.poll(() => asked.at(-1)).toBe(16)
  expect(asked).toEqual([1, 2, 3, ...Array.from({ length: 16 }, (_, index) => index + 1)])
})

it('makes one where a checkpoint was taken, once', async () => {
  const { family, asked } = familyThatCounts()
  const cells = new WarmCells(log)
  for (let i = 0; i < 3; i++) cells.mayBeUsed(family, none)
  cells.mayBeUsed(family, none)
  await expect.poll(() => asked).toEqual([1])
  cells.used(family, none, 1)
  await expect.poll(() => asked).toEqual([1, 1])
})

it('makes none for the host’s network or without an engine', async () => {
  const { family, asked } = familyThatCounts()
  const cells = new WarmCells(log)
  cells.used(family, { net: 'host' }, 3)
  cells.used(undefined, none, 3)
  cells.mayBeUsed(family, { net: 'host' })
  await new Promise((resolve) => setTimeout(resolve, 30))
  expect(asked).toEqual([])
})
