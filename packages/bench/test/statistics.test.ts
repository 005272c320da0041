import { describe, expect, it } from 'vitest'
import { fit, median, quantile } from '../src/statistics.js'

describe('quantiles', () => {
  it('are samples where they fall on one', () => {
    const samples = [5, 1, 4, 2, 3]
    expect([0, 0.25, 0.5, 0.75, 1].map((share) => quantile(samples, share))).toEqual([1, 2, 3, 4, 5])
  })

  it('lie between two samples where they fall between them', () => {
    expect(quantile([10, 20], 0.25)).toBe(12.5)
    expect(quantile([1, 2, 3, 100], 0.95)).toBeCloseTo(85.45)
    expect(median([1, 2, 3, 100])).toBe(2.5)
  })

  it('of one sample are that sample', () => {
    expect([0, 0.5, 0.99].map((share) => quantile([7], share))).toEqual([7, 7, 7])
  })

  it('are numbers by size, not by their letters, and leave the samples in their order', () => {
    const samples = [10, 9, 100]
    expect(median(samples)).toBe(10)
    expect(samples).toEqual([10, 9, 100])
  })

  it('of nothing are no number', () => {
    expect(median([])).toBeNaN()
  })
})

describe('the line through points', () => {
  it('is exact where they lie on one', () => {
    expect(
      fit([
        [0, 3],
        [2, 7],
        [5, 13],
      ]),
    ).toEqual({ slope: 2, start: 3 })
  })

  it('is not bent by outliers', () => {
    const points = Array.from({ length: 11 }, (_, x): [number, number] => [x, 0.5 * x + 1])
    points[3] = [3, 1000]
    points[10] = [10, -1000]
    expect(fit(points)).toEqual({ slope: 0.5, start: 1 })
  })

  it('takes many samples of the same x', () => {
    const points = [1, 2, 4].flatMap((x): [number, number][] => [
      [x, 3 * x - 1],
      [x, 3 * x],
      [x, 3 * x + 1],
    ])
    expect(fit(points)).toEqual({ slope: 3, start: 0 })
  })

  it('is none where all have the same x', () => {
    expect(
      fit([
        [1, 2],
        [1, 3],
      ]),
    ).toBeUndefined()
    expect(fit([[1, 2]])).toBeUndefined()
    expect(fit([])).toBeUndefined()
  })
})
