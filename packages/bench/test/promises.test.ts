import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { promisesIn, type Verdict, verdicts } from '../src/promises.js'
import { type Parameters, type Results, resultsOf, type Series } from '../src/results.js'

const SPECIFICATION = readFileSync(new URL('../../../SPECIFICATION.md', import.meta.url), 'utf8')

function series(
  name: string,
  samples: readonly number[],
  parameters: Parameters = {},
  system = 'deltabox',
): Series {
  const [group = '', operation = ''] = name.split('/')
  const key = { group, system, operation, parameters, unit: 'ms', timer: '' } as const
  return { ...key, samples, phases: {}, failures: [] }
}

function resultsWith(...all: readonly Series[]): Results {
  const machine = {
    ...{ kernel: '', cpu: '', cpus: 2, memoryBytes: 0 },
    ...{ fileSystem: '', virtualised: '', node: '' },
  }
  const suite = { name: 'any', seconds: 1, load: [0, 0], series: all, skipped: [], notes: [] } as const
  return resultsOf({ deltabox: '0.0.0', size: 'full', started: '', machine, suites: [suite] })
}

function verdictOn(
  promise: string,
  all: readonly Series[],
  atMost: number,
  margin?: number,
): Verdict | undefined {
  return verdicts(resultsWith(...all), margin, `| \`${promise}\` | what it is | ${atMost} |\n`)[0]
}

const blocking = (files: number, ...samples: number[]): Series =>
  series('open-files/checkpoint-blocking', samples, { files })

describe('what is promised', () => {
  it('is read from tables: a name and a bound', () => {
    const text = [
      '| promise   | what is compared | at most |',
      '| --------- | ---------------- | ------: |',
      '| `depth`   | a / `b`          |     2.0 |',
      '| `a-16`    | c                |      12 |',
      'A sentence about `depth`.',
    ].join('\n')
    expect([...promisesIn(text)]).toEqual([
      ['depth', 2],
      ['a-16', 12],
    ])
  })

  it('is known, all that SPECIFICATION.md has', () => {
    const told = verdicts(resultsWith())
    expect(told.map(({ promise }) => promise)).toEqual([...promisesIn(SPECIFICATION).keys()])
    expect(told.length).toBe(SPECIFICATION.match(/^\| `/gm)?.length)
  })

  it('must be something that can be measured', () => {
    expect(() => verdicts(resultsWith(), 1, '| `speed` | any | 1.0 |')).toThrow('measure speed')
  })
})

describe('a verdict', () => {
  it('has the exact ratio of two medians', () => {
    expect(verdictOn('open-files', [blocking(100, 4, 2, 9), blocking(1000, 50, 10, 30)], 12)).toEqual({
      ...{ promise: 'open-files', atMost: 12, measured: 7.5, broken: false },
    })
  })

  it('names what is broken', () => {
    const all = [blocking(100, 1), blocking(1000, 12.5), series('search/overhead', [1.001])]
    const broken = verdicts(resultsWith(...all)).filter((one) => one.broken)
    expect(broken).toEqual([{ promise: 'open-files', atMost: 12, measured: 12.5, broken: true }])
  })

  it('is kept at the bound itself, and within the margin', () => {
    const all = [blocking(100, 1), blocking(1000, 12)]
    expect(verdictOn('open-files', all, 12)?.broken).toBe(false)
    expect(verdictOn('open-files', all, 6)?.broken).toBe(true)
    expect(verdictOn('open-files', all, 6, 2)?.broken).toBe(false)
  })

  it('is undefined and nothing broken where nothing was measured, or one side only', () => {
    const none = { promise: 'open-files', atMost: 12, measured: undefined, broken: false }
    expect(verdictOn('open-files', [], 12)).toEqual(none)
    expect(verdictOn('open-files', [blocking(1000, 99)], 12)).toEqual(none)
    expect(verdictOn('open-files', [blocking(100, 1)], 12)).toEqual(none)
    expect(verdictOn('open-files', [blocking(100, 1), blocking(1000)], 12)).toEqual(none)
    expect(verdictOn('fork-many', [series('files-only/fork-16', [1])], 1)?.measured).toBeUndefined()
    expect(
      verdictOn('process-rollback', [series('operations/rollback-spare', [1])], 1)?.measured,
    ).toBeUndefined()
  })

  it('is of the largest there is where a run did not go as far', () => {
    const at = (files: number, ms: number): Series => series('tree-size/rollback-template', [ms], { files })
    expect(verdictOn('rollback-tree-size', [at(500, 2), at(5000, 3)], 1.5)?.measured).toBe(1.5)
    expect(verdictOn('rollback-tree-size', [at(500, 2), at(5000, 3), at(50_000, 8)], 1.5)?.measured).toBe(4)
  })

  it('is of DeltaBox alone, and of that operation in that group', () => {
    const all = [
      series('open-files/checkpoint-blocking', [1000], { files: 1000 }, 'criu'),
      series('open-files-writing/checkpoint-blocking', [1000], { files: 1000 }),
      series('open-files/checkpoint', [1000], { files: 1000 }),
      blocking(100, 2),
      blocking(1000, 4),
    ]
    expect(verdictOn('open-files', all, 12)?.measured).toBe(2)
  })
})

describe('the ratios', () => {
  const bare = series('operations/fork', [2], {}, 'bare')
  const images = series('images/rollback-template', [4])
  const growing = (group: string, operation: string, parameter: string, ...values: number[]): Series[] =>
    values.map((value, index) => series(`${group}/${operation}`, [2 ** index], { [parameter]: value }))
  const bothOf = (operation: string, other: string): Series[] => [
    series(`baselines/${operation}`, [2]),
    series(`baselines/${operation}`, [8], {}, other),
  ]
  const cases: [string, Series[], number][] = [
    ['bytes-written', growing('written', 'checkpoint-blocking', 'megabytes', 1, 16, 64, 256, 1024), 16],
    ['tree-size', growing('tree-size', 'checkpoint-blocking', 'files', 500, 5000, 50_000), 4],
    ['depth', growing('depth', 'checkpoint-blocking', 'layers', 1, 8, 25, 64, 128, 200), 2],
    ['open-files', growing('open-files', 'checkpoint-blocking', 'files', 0, 10, 100, 1000), 2],
    ['rollback-tree-size', growing('tree-size', 'rollback-template', 'files', 500, 5000, 50_000), 4],
    ['fork-many', [series('files-only/fork-16', [3]), series('files-only/fork-1-16-times', [4])], 0.75],
    ['process-checkpoint', [bare, series('operations/checkpoint-blocking', [13])], 2],
    ['process-rollback', [bare, series('operations/rollback-spare', [9])], 2],
    ['process-rollback-old', [bare, series('operations/rollback-template', [9])], 2],
    ['process-rollback-size', growing('memory', 'rollback-template', 'megabytes', 50, 1024), 2],
    ['process-fork-16', [bare, series('operations/fork-16', [24])], 0.5],
    ['process-fork-64', [bare, series('operations/fork-64', [384])], 2],
    ...['criu', 'gvisor'].flatMap((other) =>
      ['checkpoint', 'restore'].map((operation): [string, Series[], number] => [
        `${other}-${operation}`,
        bothOf(operation === 'restore' ? 'restore-answered' : operation, other),
        0.25,
      ]),
    ),
    ['image-rollback', [images, series('images/rollback-image', [40])], 10],
    ['image-rollback-nearby', [images, series('images/rollback-nearby', [10])], 2.5],
    [
      'search-overhead',
      [series('search/overhead', [1.002], { of: 'a' }), series('search/overhead', [1.004], { of: 'b' })],
      1.004,
    ],
  ]

  it.each(cases)('%s', (promise, all, ratio) => {
    expect(verdictOn(promise, all, 1)?.measured).toBe(ratio)
  })

  it('are all of SPECIFICATION.md', () => {
    expect(cases.map(([promise]) => promise)).toEqual([...promisesIn(SPECIFICATION).keys()])
  })
})
