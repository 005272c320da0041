/**
 * Figures that others have published, of other machines. From the DeltaBox paper (arXiv 2605.22781) and its authors' artifact: a server
 * with 96 cores and NVMe, Linux 6.8, guests of 4 virtual processors.
 */
import type { Series } from '../results.js'

export const SOURCE =
  'the DeltaBox paper (arXiv 2605.22781) and its authors’ artifact: 96 cores, NVMe, Linux 6.8, guests of 4 virtual processors'

/** Who else measured is called as there; the paper’s own system is not ours. */
export const EVENT_SYSTEMS: readonly string[] = [
  'copy + replay',
  'Firecracker diff',
  'CRIU + copy',
  'CubeSandbox',
  'E2B (diff)',
  'DeltaBox of the paper',
]

export interface PublishedEvents {
  readonly repository: string
  /** Mean milliseconds of a checkpoint and of a restore, in the order of the systems. */
  readonly ms: readonly (readonly [checkpoint: number, restore: number])[]
}

export const EVENTS: readonly PublishedEvents[] = [
  {
    repository: 'Django',
    ms: [
      [568, 28437],
      [741, 3784],
      [792, 1116],
      [3298, 800],
      [488, 790],
      [12.12, 2.23],
    ],
  },
  {
    repository: 'SymPy',
    ms: [
      [171, 31591],
      [477, 3279],
      [503, 636],
      [2733, 1058],
      [536, 901],
      [11.96, 2.21],
    ],
  },
  {
    repository: 'Scientific',
    ms: [
      [266, 28299],
      [603, 3256],
      [436, 655],
      [2826, 963],
      [553, 952],
      [10.86, 1.82],
    ],
  },
  {
    repository: 'Tools',
    ms: [
      [86, 20883],
      [512, 2920],
      [361, 427],
      [2674, 996],
      [515, 933],
      [9.16, 1.46],
    ],
  },
  {
    repository: 'all events',
    ms: [
      [347, 27694],
      [622, 3429],
      [590, 811],
      [2850, 961],
      [524, 900],
      [10.83, 1.86],
    ],
  },
]

export interface PublishedFigure {
  readonly what: string
  /** As they are published. */
  readonly figures: string
  /** Of ours, what is of the same thing. */
  isSame(series: Series): boolean
}

const of =
  (group: string, operation: RegExp, parameters: Series['parameters'] = {}) =>
  (series: Series): boolean =>
    series.system === 'deltabox' &&
    series.group === group &&
    operation.test(series.operation) &&
    Object.entries(parameters).every(([name, value]) => series.parameters[name] === value)

const fanOut = (count: number): PublishedFigure['isSame'] =>
  of('rollouts', new RegExp(`^fan-out-${count}-verified$`))

const edited = (fileSystem: string, fileKilobytes: string): PublishedFigure['isSame'] =>
  of('writes', /./, { fileSystem, fileKilobytes })

export const FIGURES: readonly PublishedFigure[] = [
  {
    what: 'restore of a state that is not in memory',
    figures: 'DeltaBox of the paper 9.29 ms',
    isSame: of('images', /^rollback-image/),
  },
  {
    what: 'fan-out to 1 verified child',
    figures: 'DeltaBox of the paper 11.8 ms, CubeSandbox 1935 ms, E2B 1641 ms',
    isSame: fanOut(1),
  },
  {
    what: 'fan-out to 4',
    figures: 'DeltaBox of the paper 14.0 ms, CubeSandbox 1686 ms, E2B 2792 ms',
    isSame: fanOut(4),
  },
  {
    what: 'fan-out to 16',
    figures: 'DeltaBox of the paper 53.8 ms (91 in its text), CubeSandbox 2331 ms, E2B 10601 ms',
    isSame: fanOut(16),
  },
  {
    what: 'fan-out to 64',
    figures: 'DeltaBox of the paper 271 ms (369 in its text), CubeSandbox 5376 ms, E2B 40489 ms',
    isSame: fanOut(64),
  },
  {
    what: 'a search from end to end / its models and actions',
    figures: 'DeltaBox of the paper 1.01–1.02, E2B 1.30–1.93',
    isSame: of('search', /^overhead$/),
  },
  {
    what: 'occupation with 16 / 64 environments',
    figures: 'DeltaBox of the paper 97 / 95 %, CubeSandbox 80 / 77 %, E2B 36 / 29 %',
    isSame: of('rollouts', /occupation/),
  },
  {
    what: 'written to the device for an edit of a file of 1–8 KB',
    figures: '132 KB on ext4',
    isSame: edited('ext4', '1-8'),
  },
  {
    what: 'the same on XFS, whose files share extents',
    figures: '26 KB',
    isSame: edited('xfs', '1-8'),
  },
  {
    what: 'written to the device for an edit of a file of 128–256 KB',
    figures: '315 KB',
    isSame: edited('ext4', '128-256'),
  },
  {
    what: 'the same on XFS, whose files share extents',
    figures: '141 KB',
    isSame: edited('xfs', '128-256'),
  },
]
