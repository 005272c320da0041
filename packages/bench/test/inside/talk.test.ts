import { describe, expect, it } from 'vitest'
import { Talk } from '../../src/inside/talk.js'

async function* saying(...lines: string[]): AsyncGenerator<string> {
  yield* lines
}

describe('a talk', () => {
  it('asks in lines and gives one for each', async () => {
    const asked: string[] = []
    const talk = new Talk((line) => asked.push(line), saying('ready', '1', '2'))
    expect(await talk.next()).toBe('ready')
    expect(await talk.ask('turn')).toBe('1')
    expect(await talk.ask('turns')).toBe('2')
    expect(asked).toEqual(['turn\n', 'turns\n'])
  })

  it('fails when the program has ended', async () => {
    await expect(new Talk(() => {}, saying()).ask('turn')).rejects.toThrow('the program has ended')
  })

  it('fails when the program says nothing', async () => {
    const silent = { next: () => new Promise<never>(() => {}) }
    await expect(new Talk(() => {}, silent, 10).ask('turn')).rejects.toThrow('said nothing for 0.01 s')
  })
})
