import { describe, expect, it } from 'vitest'
import { axisOf, axisThrough, logAxis } from '../../src/report/axis.js'
import { change, digits, parameter, quantity, single, tick } from '../../src/report/quantities.js'

describe('figures', () => {
  it('have three digits that count', () => {
    expect([0, 0.012345, 0.1, 1.006, 12.34, 99.96, 123.4, 12345].map(digits)).toEqual([
      ...['0', '0.0123', '0.100', '1.01', '12.3', '100', '123', '12,300'],
    ])
  })

  it('are in a unit in which they are short', () => {
    expect([0, 0.0000123, 0.0456, 0.0999, 0.1, 12.34, 999.9, 61_234].map((ms) => quantity(ms, 'ms'))).toEqual(
      [...['0 ms', '12.3 ns', '45.6 µs', '99.9 µs', '0.100 ms', '12.3 ms', '1.00 s', '61.2 s']],
    )
    expect([0, 17, 4096, 52_428_800, 25e9].map((bytes) => quantity(bytes, 'bytes'))).toEqual([
      ...['0 bytes', '17 bytes', '4.10 KB', '52.4 MB', '25.0 GB'],
    ])
    expect([0.5, 1.0042, 20].map((ratio) => quantity(ratio, 'x'))).toEqual(['0.500 ×', '1.004 ×', '20.0 ×'])
    expect([-0.5, 0.5].map((ms) => change(ms, 'ms'))).toEqual(['−0.500 ms', '+0.500 ms'])
    expect([0, 0.5, 2000].map((ms) => tick(ms, 'ms'))).toEqual(['0', '0.5 ms', '2 s'])
  })

  it('are of so many', () => {
    expect(parameter('megabytes', 1024)).toBe('1,024 MB')
    expect([parameter('processes', 1), parameter('processes', 2)]).toEqual(['1 process', '2 processes'])
    expect(['files', 'openFiles', 'branches', 'megabytes', 'depth'].map(single)).toEqual([
      ...['file', 'open file', 'branch', 'MB', 'depth'],
    ])
    expect([parameter('policy', 'lru'), parameter('after', 'fork')]).toEqual(['lru', 'after fork'])
  })
})

describe('axes', () => {
  it('are linear over what is near', () => {
    const axis = axisOf([2, 9.5], { fromZero: true })
    expect(axis.ticks).toEqual([0, 2, 4, 6, 8, 10])
    expect([0, 5, 10].map(axis.at)).toEqual([0, 0.5, 1])
  })

  it('are logarithmic over what is far apart, with 1, 2 and 5 or powers of ten', () => {
    expect(axisOf([1, 40]).ticks).toEqual([1, 2, 5, 10, 20, 50])
    expect(axisOf([1, 29]).isLog).toBe(false)
    const axis = logAxis(0.1, 2000)
    expect(axis.ticks).toEqual([0.1, 1, 10, 100, 1000])
    expect([axis.at(0.1), axis.at(2000), axis.end]).toEqual([0, 1, 2000])
  })

  it('have a place for zero before a logarithm', () => {
    const axis = axisThrough([1000, 0, 10, 100])
    expect(axis.ticks).toEqual([0, 10, 100, 1000])
    expect([0, 10, 1000].map(axis.at)).toEqual([0, 0.1, 1])
    expect(axis.at(100)).toBeCloseTo(0.55)
  })

  it('of one value divide by nothing', () => {
    for (const values of [[0], [5], [-1]]) {
      expect(values.map(axisOf(values).at).every(Number.isFinite)).toBe(true)
      expect(values.map(axisThrough(values).at).every(Number.isFinite)).toBe(true)
    }
  })
})
