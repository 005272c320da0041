/** What the steps are that DeltaBox tells the times of, and which of them are parts of others. */
import type { Series } from '../results.js'
import { median } from '../statistics.js'

interface Known {
  readonly about: string
  /** What it is a part of. */
  readonly inside?: string
  /** Meanwhile the processes of the sandbox stand still. */
  readonly still?: true
}

/** As the engine and the daemon name them: native/src/{checkpoint,create,rollback,revive}.c, packages/daemon/src/state/create.ts. */
const KNOWN: Readonly<Record<string, Known>> = {
  plan: { about: 'the daemon decides what the base is made of' },
  engine: { about: 'the daemon takes an engine that waits, or starts one' },
  base: { about: 'the trees that the sandbox is based on are opened' },
  template: {
    about: 'the templates to fork from are looked up; where they are not in memory, made from images',
  },
  cell: {
    about: 'an empty cell is taken and the processes are begun in it; nothing where a spare was ready',
  },
  'make family': { about: 'all processes, as parents and children', inside: 'cell' },
  fork: { about: 'the templates are forked', inside: 'make family' },
  'enter cell': { about: 'the processes go into the namespaces of the cell', inside: 'make family' },
  'fill memory': { about: 'what cannot be had by forking is copied', inside: 'make family' },
  'make threads': { about: 'all threads but the first', inside: 'cell' },
  overlay: { about: 'the layers are mounted' },
  mounts: { about: 'root, hostname and mounts of the cell' },
  'make sockets': { about: 'sockets and what waits in them' },
  'bring descriptors': { about: 'files are opened again, every descriptor gets its number' },
  'restore threads': { about: 'registers, signals, timers, credentials' },
  'settle descriptors': { about: 'locks, offsets, terminals' },
  kill: { about: 'the processes of before are killed' },
  'let go': { about: 'the processes run' },
  'old cell ends': {
    about: 'what was killed is waited for, where its commands have to be told to have ended',
  },
  'make layer': { about: 'an empty layer for what is written from now on' },
  'mount trees': { about: 'the same files, with that layer on top' },
  scan: { about: 'what the processes hold is looked at while they run' },
  'copy ahead': { about: 'pages of large processes are copied before they stand still' },
  freeze: { about: 'every thread is stopped', still: true },
  'copy roots': { about: 'mounts of the old trees are copied', still: true },
  collect: { about: 'open files, directories and mappings', still: true },
  'know watches': { about: 'what inotify watches', still: true },
  'carry over': { about: 'what has to be the same inode in both layers', still: true },
  'open again': { about: 'files are opened in the new trees', still: true },
  'enter processes': { about: 'a way to call the kernel from inside each', still: true },
  capture: { about: 'registers, memory and all that a process is', still: true },
  deliver: { about: 'the new files go into the processes', still: true },
  hold: { about: 'deleted and hidden files are kept', still: true },
  'switch roots': { about: 'the new trees become the root', still: true },
  'move watches': { about: 'inotify watches the new files', still: true },
  swap: { about: 'every descriptor now means the new file', still: true },
  settle: { about: 'what the old layer holds is put down', still: true },
  'leave processes': { about: 'nothing of us stays in them', still: true },
  'drop root': { about: 'the old root is let go', still: true },
  thaw: { about: 'every thread runs on', still: true },
}

/** Over several steps, or all of them: told, but no part of the sum. */
const SPANS: Readonly<Record<string, string>> = {
  total: 'all the engine did, by its own clock',
  blocking: 'from freeze to thaw, and what copying ahead stood in the way',
}

/** Whoever is told what it took as a whole sees this of it. */
export const ELSEWHERE = 'elsewhere'

export interface PhaseTime {
  readonly name: string
  readonly median: number
  readonly samples: number
  readonly about: string
  /** 0 for one of the steps that follow each other, 1 for a part of one. */
  readonly depth: number
  readonly isStill: boolean
}

export interface Phases {
  /** Those that follow each other, each before its parts. */
  readonly steps: readonly PhaseTime[]
  /** Told with them and in no sum: over several of them, or not within what was measured. */
  readonly beside: readonly PhaseTime[]
  /** What it took, less all steps. Undefined where they take longer: then they overlap. */
  readonly elsewhere: number | undefined
}

/** Undefined where it was not told of any. How long processes stand still is made of the steps in which they do. */
export function phasesOf({ operation, phases, samples }: Series): Phases | undefined {
  const told = Object.entries(phases).filter(([, times]) => times.length > 0)
  if (told.length === 0 || samples.length === 0) return undefined
  const names = new Set(told.map(([name]) => name))
  const times = told.map(([name, one]) => timeOf(name, one, names))
  const isBlocking = operation.endsWith('-blocking')
  const counts = ({ name, isStill }: PhaseTime): boolean => !(name in SPANS) && (isStill || !isBlocking)
  const steps = times.filter(counts)
  const sum = steps.reduce((all, { depth, median: ms }) => all + (depth === 0 ? ms : 0), 0)
  const elsewhere = median(samples) - sum
  return {
    steps: steps.filter(({ depth }) => depth === 0).flatMap((step) => [step, ...within(step.name, steps)]),
    beside: times.filter((time) => !counts(time)),
    elsewhere: elsewhere >= 0 ? elsewhere : undefined,
  }
}

function timeOf(name: string, times: readonly number[], names: ReadonlySet<string>): PhaseTime {
  const known = KNOWN[name]
  return {
    name,
    median: median(times),
    samples: times.length,
    about: known?.about ?? SPANS[name] ?? '',
    depth: depthOf(name, names),
    isStill: known?.still === true,
  }
}

function depthOf(name: string, names: ReadonlySet<string>): number {
  const inside = KNOWN[name]?.inside
  return inside !== undefined && names.has(inside) ? 1 + depthOf(inside, names) : 0
}

function within(name: string, steps: readonly PhaseTime[]): PhaseTime[] {
  return steps
    .filter((step) => step.depth > 0 && KNOWN[step.name]?.inside === name)
    .flatMap((step) => [step, ...within(step.name, steps)])
}
