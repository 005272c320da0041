/** A run that nobody has made, with a series of each kind that there is. */
import type { Verdict } from '../../src/promises.js'
import { type Results, resultsOf, type Series, type SuiteResults, type Unit } from '../../src/results.js'

export interface Made {
  readonly group: string
  readonly operation: string
  readonly system?: string
  readonly parameters?: Series['parameters']
  readonly unit?: Unit
  readonly samples: readonly number[]
  readonly phases?: Series['phases']
  readonly failures?: readonly string[]
}

export function made(series: Made): Series {
  return {
    ...{ system: 'deltabox', parameters: {}, unit: 'ms', timer: 'from call to return' },
    ...{ phases: {}, failures: [] },
    ...series,
  }
}

/** The median is the middle one: always the same noise, and a straggler. */
export function around(median: number, count = 11): number[] {
  const middle = (count - 1) / 2
  return Array.from({ length: count }, (_, index) => {
    const shuffled = (index * 7) % count
    const aside = (shuffled - middle) / count
    return median * (1 + 0.2 * aside + (shuffled === count - 1 ? 0.35 : 0))
  })
}

function steps(...times: readonly (readonly [name: string, ms: number])[]): Series['phases'] {
  return Object.fromEntries(times.map(([name, ms]) => [name, around(ms)]))
}

const CHECKPOINT = steps(
  ['make layer', 0.11],
  ['mount trees', 0.24],
  ['scan', 0.05],
  ['copy ahead', 0],
  ['freeze', 0.08],
  ['copy roots', 0.09],
  ['collect', 0.22],
  ['know watches', 0],
  ['open again', 0.03],
  ['enter processes', 0.12],
  ['capture', 0.83],
  ['deliver', 0.06],
  ['switch roots', 0.14],
  ['swap', 0.05],
  ['settle', 0.04],
  ['leave processes', 0.05],
  ['drop root', 0.1],
  ['thaw', 0.06],
  ['blocking', 1.93],
)

const ROLLBACK = steps(
  ['template', 0.01],
  ['cell', 1.05],
  ['overlay', 0.31],
  ['mounts', 0.22],
  ['fork', 0.71],
  ['enter cell', 0.12],
  ['fill memory', 0],
  ['make threads', 0.05],
  ['bring descriptors', 0.13],
  ['restore threads', 0.11],
  ['make family', 0.98],
  ['make sockets', 0],
  ['settle descriptors', 0],
  ['kill', 0.06],
  ['let go', 0.03],
  ['old cell ends', 0],
  ['total', 1.95],
)

const group = (name: string, all: readonly Omit<Made, 'group'>[]): Series[] =>
  all.map((one) => made({ group: name, ...one }))

const operations = group('operations', [
  { system: 'bare', operation: 'fork', samples: around(0.8) },
  { operation: 'create', samples: around(3.4) },
  { operation: 'exec', samples: around(2.2) },
  { operation: 'checkpoint', samples: around(3) },
  { operation: 'checkpoint-blocking', samples: around(2), phases: CHECKPOINT },
  { operation: 'rollback-template', samples: around(2.6), phases: ROLLBACK },
  { operation: 'rollback-template-answered', samples: around(3.1) },
  { operation: 'fork-1', samples: around(3.2) },
  { operation: 'fork-4', samples: around(8) },
  { operation: 'fork-16', samples: around(28.8), phases: { cell: around(24), overlay: around(9) } },
  { operation: 'fork-64', samples: around(118) },
  { operation: 'remove', samples: around(1.4) },
])

const images = group('images', [
  { operation: 'rollback-image', samples: around(14), phases: { ...ROLLBACK, template: around(11) } },
  { operation: 'rollback-nearby', samples: around(5) },
  { operation: 'rollback-template', samples: around(2.7) },
  { system: 'criu', operation: 'restore', samples: around(58) },
])

const baselines = [
  ...group('baselines', [
    { operation: 'checkpoint', samples: around(3.1) },
    { operation: 'restore', samples: around(3.4) },
    { system: 'criu', operation: 'checkpoint', samples: around(186) },
    { system: 'criu', operation: 'restore', samples: around(68) },
    { system: 'gvisor', operation: 'checkpoint', samples: around(97) },
    {
      ...{ system: 'gvisor', operation: 'restore', samples: around(288, 9) },
      failures: ['Error: runsc: <no answer>', 'Error: runsc: <no answer>'],
    },
    { system: 'copy-and-replay', operation: 'checkpoint', samples: around(14) },
    { system: 'copy-and-replay', operation: 'restore', samples: around(1420) },
    { system: 'layer-and-restart', operation: 'checkpoint', samples: around(6.2) },
    { system: 'layer-and-restart', operation: 'restore', samples: around(212) },
    { system: 'git-and-restart', operation: 'checkpoint', samples: around(31) },
    { system: 'git-and-restart', operation: 'restore', samples: around(240) },
    { system: 'bare', operation: 'call', samples: around(0.7) },
    { system: 'bare', operation: 'call-answered', samples: around(1.2) },
    { system: 'bare', operation: 'keep', samples: around(2.1) },
    { system: 'bare', operation: 'back-answered', samples: around(2.3) },
  ]),
]

const grown = (
  name: string,
  parameter: string,
  values: readonly number[],
  costs: Readonly<Record<string, (value: number) => number>>,
): Series[] =>
  values.flatMap((value) =>
    Object.entries(costs).map(([operation, cost]) => {
      const phases =
        operation === 'checkpoint-blocking' ? { capture: around(cost(value) / 2), freeze: around(0.1) } : {}
      const [system, what] = operation.startsWith('bare ')
        ? ['bare', operation.slice(5)]
        : ['deltabox', operation]
      return made({
        ...{ group: name, system, operation: what, phases },
        ...{ parameters: { [parameter]: value }, samples: around(cost(value)) },
      })
    }),
  )

const growth = [
  ...grown('memory', 'megabytes', [10, 50, 200, 1024], {
    'bare fork': (mb) => 0.2 + 0.012 * mb,
    checkpoint: (mb) => 2.4 + 0.008 * mb,
    'checkpoint-blocking': (mb) => 1.5 + 0.008 * mb,
    'rollback-template': (mb) => 2.2 + 0.0014 * mb,
    'rollback-image': (mb) => 4 + 0.21 * mb,
  }),
  ...grown('dirty', 'megabytes', [0, 1, 8, 64, 256], {
    checkpoint: (mb) => 2.2 + 0.3 * mb,
    'rollback-template': (mb) => 2.5 + 0.002 * mb,
  }),
  ...grown('open-files', 'files', [0, 10, 100, 1000], {
    'checkpoint-blocking': (files) => 2 + 0.012 * files,
  }),
  ...grown('open-files-writing', 'files', [0, 10, 100], {
    'checkpoint-blocking': (files) => 2 + 0.05 * files,
  }),
  ...grown('processes', 'processes', [1, 4, 16], {
    'checkpoint-blocking': (count) => 1.5 + 0.6 * count,
    'rollback-template': (count) => 1.5 + 0.9 * count,
  }),
  ...grown('threads', 'threads', [1, 8, 64], { 'checkpoint-blocking': (count) => 2 + 0.03 * count }),
  ...grown('depth', 'layers', [1, 8, 25, 64, 128], {
    'checkpoint-blocking': (layers) => 1.9 + 0.006 * layers,
    'rollback-template': (layers) => 2.5 + 0.01 * layers,
  }),
  ...grown('tree-size', 'files', [500, 5000, 50000], { 'rollback-template': () => 2.6 }),
  ...grown('written', 'megabytes', [1, 16, 1024], { 'checkpoint-blocking': (mb) => 2 + 0.0003 * mb }),
]

const repositories = ['django', 'sympy']
const searches = repositories.flatMap((repository) => {
  const parameters = { repository }
  return [
    ...group('search', [
      { operation: 'checkpoint', parameters, samples: around(4.2, 27) },
      { operation: 'checkpoint-blocking', parameters, samples: around(3, 27) },
      { operation: 'rollback', parameters, samples: around(3.9, 25) },
      { operation: 'overhead', parameters, unit: 'x', samples: [1.004] },
    ]),
    ...group(
      'search-replay',
      (
        [
          ['deltabox', 4.4, 5.1, 1.009],
          ['criu', 420, 180, 1.54],
          ['copy-and-replay', 310, 9400, 9.7],
          ['git-and-restart', 95, 2900, 3.9],
        ] as const
      ).flatMap(([system, checkpoint, restore, overhead]) => [
        { system, operation: 'checkpoint', parameters, samples: around(checkpoint, 9) },
        { system, operation: 'restore', parameters, samples: around(restore, 9) },
        { system, operation: 'overhead', parameters, unit: 'x' as const, samples: [overhead] },
      ]),
    ),
  ]
})

const policies = ['keep-all', 'lru', 'selectable'].flatMap((policy, index) =>
  ['memory', 'disk'].map((operation) =>
    made({
      ...{ group: 'policies', operation, unit: 'bytes', parameters: { policy } },
      samples: Array.from({ length: 40 }, (_, at) =>
        Math.round(6e7 + (at * 4e6) / (1 + index) + ((at * 7) % 5) * 1e6 * index),
      ),
    }),
  ),
)

const writes = ['ext4', 'xfs'].flatMap((fileSystem) =>
  ['1-8', '128-256'].flatMap((fileKilobytes) =>
    ['deltabox', 'bare'].map((system) =>
      made({
        ...{ group: 'writes', system, operation: 'device-bytes-per-edit', unit: 'bytes' },
        parameters: { fileSystem, fileKilobytes, edit: 'replaced' },
        samples: around(fileKilobytes.length * (system === 'bare' ? 20_000 : 30_000), 5).map(Math.round),
      }),
    ),
  ),
)

const rollouts = [1, 4, 16, 64].flatMap((children) =>
  group('rollouts', [
    { operation: `fan-out-${children}`, parameters: { children }, samples: around(1 + 1.9 * children) },
    {
      operation: `fan-out-${children}-verified`,
      parameters: { children },
      samples: around(4 + 2 * children),
    },
    ...(children < 16
      ? []
      : [
          {
            operation: 'occupation',
            parameters: { children },
            unit: 'x' as const,
            samples: [0.98 - children / 5000],
          },
        ]),
  ]),
)

export function suite(
  name: string,
  series: readonly Series[],
  more: Partial<SuiteResults> = {},
): SuiteResults {
  return { name, seconds: 4.2, load: [0.31, 1.2], series, skipped: [], notes: [], ...more }
}

export function run(suites: readonly SuiteResults[]): Results {
  return resultsOf({
    ...{ deltabox: '0.1.0', size: 'full', started: '2026-03-04T05:06:07.000Z', suites },
    machine: {
      ...{ kernel: '6.18.5', cpu: 'Made-up CPU @ 2.10GHz', cpus: 2, memoryBytes: 25e9 },
      ...{ fileSystem: 'ext2/ext3', virtualised: 'kvm', node: 'v20.20.0' },
    },
  })
}

export const complete: Results = run([
  suite('operations', operations),
  suite('images', images, { skipped: [{ what: 'CRIU 3', why: 'it does not start on this kernel' }] }),
  suite('baselines', baselines, { notes: ['CRIU 4.1.1: memory and files'] }),
  suite('growth', growth),
  suite('searches', searches),
  suite('policies', policies, { error: 'Error: out of <space>\n    at somewhere' }),
  suite('writes', writes),
  suite('rollouts', rollouts),
  suite('news', grown('pages', 'pages', [1, 2, 4], { reading: (pages) => 3 * pages })),
])

export const judged: readonly Verdict[] = [
  {
    promise: 'tree-size',

    atMost: 1.5,
    measured: 1.02,
    broken: false,
  },
  {
    promise: 'depth',

    atMost: 2,
    measured: 2.5,
    broken: true,
  },
  { promise: 'fork-many', atMost: 1, measured: undefined, broken: false },
]

export const compared: ReadonlyMap<string, string> = new Map([
  ['tree-size', 'blocking in a large tree / in a small one'],
  ['depth', 'blocking on a long chain / on a short one'],
  ['fork-many', 'fork(16) / 16 forks'],
])
