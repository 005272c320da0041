/** All there is, in the order in which they run. */
import type { Suite } from './suite.js'

export interface SuiteEntry {
  readonly name: string
  readonly about: string
  load(): Promise<Suite>
}

export const suites: readonly SuiteEntry[] = [
  {
    name: 'operations',
    about: 'each operation, beside what nothing can be faster than',
    load: () => import('./micro/operations.js'),
  },
  { name: 'memory', about: 'more in memory', load: () => import('./micro/memory.js') },
  { name: 'dirty', about: 'more of it changed', load: () => import('./micro/dirty.js') },
  { name: 'threads', about: 'more threads', load: () => import('./micro/threads.js') },
  { name: 'processes', about: 'more processes', load: () => import('./micro/processes.js') },
  { name: 'files-only', about: 'sandboxes without processes', load: () => import('./micro/files-only.js') },
  { name: 'open-files', about: 'with many files open', load: () => import('./micro/open-files.js') },
  { name: 'depth', about: 'on many layers', load: () => import('./micro/depth.js') },
  { name: 'tree-size', about: 'among many files', load: () => import('./micro/tree-size.js') },
  { name: 'written', about: 'after much was written', load: () => import('./micro/written.js') },
  { name: 'images', about: 'going back to what is not in memory', load: () => import('./micro/images.js') },
  {
    name: 'baselines',
    about: 'others who keep a state and go back to it',
    load: () => import('./baselines/baselines.js'),
  },
  { name: 'writes', about: 'what a disk is given for an edit', load: () => import('./macro/writes.js') },
  {
    name: 'policies',
    about: 'what a long run takes of memory and disk',
    load: () => import('./macro/policies.js'),
  },
  {
    name: 'search',
    about: 'searches over repositories, by all who can',
    load: () => import('./macro/search.js'),
  },
  { name: 'rollouts', about: 'many from one checkpoint', load: () => import('./macro/rollouts.js') },
]
