import { describe, expect, it } from 'vitest'
import { cut, fit, plain, widthOf } from '../../src/view/text.js'

describe('plain', () => {
  it('leaves nothing that a terminal would obey', () => {
    expect(plain('a\x1b[2Jb\x1b]0;title\x07c\r\nd\x9b31me\u202ef\u2028g\ud800')).toBe('abc de f g')
    expect(plain('  \x07 ')).toBe('')
  })

  it('keeps letters of all kinds', () => expect(plain('naïve 日本 – ✓')).toBe('naïve 日本 – ✓'))
})

describe('widthOf', () => {
  it.each([
    ['abc', 3],
    ['日本', 4],
    ['e\u0301', 1],
    ['🚀', 2],
  ])('%s takes %d cells', (text, cells) => expect(widthOf(text)).toBe(cells))
})

describe('fit', () => {
  it('gives exactly as many cells as are asked for', () => {
    for (const text of ['', 'abc', '日本語', 'a日b本c', 'e\u0301e\u0301e\u0301', '🚀🚀']) {
      for (let width = 0; width < 8; width++) expect(widthOf(fit(text, width))).toBe(width)
    }
  })

  it('tells what was cut', () => expect(cut('abcdef', 4)).toBe('abc…'))
})
