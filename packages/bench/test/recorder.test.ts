import { describe, expect, it } from 'vitest'
import { Recorder } from '../src/recorder.js'
import { nameOf, type SeriesKey } from '../src/results.js'

const key: SeriesKey = {
  group: 'memory',
  system: 'deltabox',
  operation: 'rollback-template',
  parameters: { megabytes: 50 },
  unit: 'ms',
  timer: 'made up',
}

describe('a recorder', () => {
  it('keeps every sample, in order, with its phases, once per key', () => {
    const record = new Recorder()
    record.samples(key).add(3, { fork: 1, total: 2 })
    record.samples({ ...key }).add(1, { fork: 0.5 })
    expect(record.recorded.series).toEqual([
      { ...key, samples: [3, 1], phases: { fork: [1, 0.5], total: [2] }, failures: [] },
    ])
    expect(nameOf(key)).toBe('memory/deltabox/rollback-template?megabytes=50')
    expect(nameOf({ ...key, parameters: {} })).toBe('memory/deltabox/rollback-template')
  })

  it('times from the call to the return, and counts what fails', async () => {
    const record = new Recorder()
    const samples = record.samples(key)
    expect(await samples.time(() => new Promise((resolve) => setTimeout(() => resolve(7), 20)))).toBe(7)
    expect(await samples.time(() => Promise.reject(new Error('no')))).toBeUndefined()
    const { samples: values, failures } = samples.series
    expect(values).toHaveLength(1)
    expect(values[0]).toBeGreaterThan(19)
    expect(values[0]).toBeLessThan(500)
    expect(failures).toEqual(['Error: no'])
  })

  it('gives up when three fail in a row, not when one in between does not', async () => {
    const samples = new Recorder().samples(key)
    const fails = (): Promise<unknown> => samples.time(() => Promise.reject(new Error('no')))
    await fails()
    await fails()
    await samples.time(async () => {})
    await fails()
    await fails()
    await expect(fails()).rejects.toThrow('no')
    expect(samples.series.failures).toHaveLength(5)
  })

  it('refuses what is no number', () => {
    expect(() => new Recorder().samples(key).add(Number.NaN)).toThrow('NaN is no sample')
  })

  it('tells whoever goes on measuring that it is to stop', async () => {
    const stop = new AbortController()
    const record = new Recorder(stop.signal)
    const samples = record.samples(key)
    samples.add(1)
    stop.abort(new Error('stopped'))
    expect(() => samples.add(2)).toThrow('stopped')
    expect(() => samples.fail(new Error('no'))).toThrow('stopped')
    expect(() => record.samples(key)).toThrow('stopped')
    await expect(samples.time(async () => {})).rejects.toThrow('stopped')
    expect(record.recorded.series[0]?.samples).toEqual([1])
  })
})
