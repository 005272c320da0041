import { PassThrough } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { bar, headLine, progressBar, timesOf } from '../../src/view/bar.js'
import { paintFor } from '../../src/view/paint.js'
import { widthOf } from '../../src/view/text.js'

describe('bar', () => {
  it.each([
    [0, '····'],
    [0.5, '██··'],
    [0.28, '█▏··'],
    [1, '████'],
    [7, '████'],
  ])('of %d', (part, drawn) => expect(bar(part, 4)).toBe(drawn))
})

describe('headLine', () => {
  it('gives to the bar what the words leave', () => {
    const line = { title: 'copy', part: 0.5, text: '1 of 2', paint: paintFor(false) }
    expect(headLine({ ...line, width: 80 })).toBe(`copy  ${bar(0.5, 40)}  1 of 2`)
    expect(headLine({ ...line, width: 18 })).toBe('copy  ██··  1 of 2')
    for (let width = 6; width < 60; width++) {
      expect(widthOf(headLine({ ...line, width }))).toBeLessThanOrEqual(width)
    }
  })
})

describe('timesOf', () => {
  it('tells what is left where that is known', () => {
    expect(timesOf(1400, undefined)).toBe('1 s')
    expect(timesOf(1400, 71_000)).toBe('1 s, about 1 min 11 s to go')
  })
})

describe('progressBar', () => {
  it('is some lines in a file', () => {
    const stream = new PassThrough()
    const progress = progressBar({ title: 'copy', total: 10, stream, env: {} })
    for (let done = 1; done <= 10; done++) progress.update(done)
    progress.close()
    const lines = String(stream.read()).trimEnd().split('\n')
    expect(lines.map((line) => line.split(',')[0])).toEqual([
      'copy: 3 of 10',
      'copy: 6 of 10',
      'copy: 9 of 10',
      'copy: 10 of 10',
    ])
  })

  it('is one line on a terminal, which goes', () => {
    const stream = Object.assign(new PassThrough(), { isTTY: true, columns: 80 })
    const progress = progressBar({ title: 'copy', total: 2, stream, env: { NO_COLOR: '1' } })
    progress.update(1)
    progress.close()
    expect(String(stream.read())).toBe(`\rcopy  ${bar(0.5, 40)}  1 of 2, 0 s, about 0 s to go\x1b[K\r\x1b[K`)
  })
})
