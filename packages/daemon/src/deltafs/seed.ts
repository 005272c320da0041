/** What a sandbox's root has on top of its base: system directories of its own, and covers over the host's secrets. */

import path from 'node:path'
import type { Seed, SeedDirectory } from '../engine/messages.js'
import { isThere } from '../is-there.js'
import { SYSTEM_DIRECTORIES } from './host-masks.js'
import { findSecrets } from './host-secrets.js'
import { seedFiles } from './seed-files.js'

export interface SeedRequest {
  /** Real paths on the host. */
  readonly base: string
  readonly workspace: string | null
  readonly hostname: string
  readonly net: 'none' | 'host'
  /** More paths of the base to hide. */
  readonly masks: readonly string[]
  /** Where the daemon keeps its own things on the host: hidden wherever the base would show them. */
  readonly ownDirectories: readonly string[]
}

export async function planSeed(request: SeedRequest): Promise<Seed> {
  const system = request.base === '/' ? coverSystem() : await completeSystem(request.base)
  const secrets = request.base === '/' ? await findSecrets('/') : { files: [], directories: [] }
  const covered = prune([...system, ...secrets.directories])
  const hidden = [...secrets.files, ...request.masks.map(comparable), ...ownBelow(request)]
  const { hide, instead } = makeWay(hidden, request.workspace)
  return {
    hide: hide.filter((target) => !liesInOpaque(target, covered)),
    directories: [...covered, ...instead.filter(({ path: at }) => !liesInOpaque(at, covered))],
    files: await seedFiles(request),
  }
}

/** The host's own of these hold what is the host's business: its processes, devices, sockets, users' files. */
function coverSystem(): SeedDirectory[] {
  return [
    ...SYSTEM_DIRECTORIES.map(({ path: at, mode }) => ({ path: at, mode, opaque: true })),
    { path: '/run/lock', mode: 0o1777, opaque: false },
  ]
}

/** A base that was given is shown as it is; only what programs rely on is added where it lacks. */
async function completeSystem(base: string): Promise<SeedDirectory[]> {
  const wanted = SYSTEM_DIRECTORIES.filter(({ needed }) => needed)
  const missing = await Promise.all(wanted.map(async ({ path: at }) => !(await isThere(path.join(base, at)))))
  return wanted
    .filter((_, index) => missing[index])
    .map(({ path: at, mode }) => ({ path: at, mode, opaque: false }))
}

/** Drops what lies in an opaque directory: it is gone already, and a cover for it would show that it was there. */
function prune(directories: readonly SeedDirectory[]): SeedDirectory[] {
  return directories.filter((directory) => !directory.opaque || !liesInOpaque(directory.path, directories))
}

function liesInOpaque(target: string, directories: readonly SeedDirectory[]): boolean {
  return directories.some(({ path: at, opaque }) => opaque && target.startsWith(`${at}/`))
}

/** `/a/../b/` is `/b`: paths are compared with one another as text. */
function comparable(mask: string): string {
  return path.posix.resolve('/', mask)
}

/** As the base shows them. */
function ownBelow({ base, ownDirectories }: SeedRequest): string[] {
  if (base === '/') return [...ownDirectories]
  return ownDirectories.filter((own) => own.startsWith(`${base}/`)).map((own) => own.slice(base.length))
}

/** A workspace below a hidden path needs directories to be mounted on: there the path is an empty directory instead. */
function makeWay(
  hidden: readonly string[],
  workspace: string | null,
): { hide: string[]; instead: SeedDirectory[] } {
  const holdsWorkspace = (at: string): boolean => workspace === at || workspace?.startsWith(`${at}/`) === true
  return {
    hide: hidden.filter((at) => !holdsWorkspace(at)),
    instead: hidden.filter(holdsWorkspace).map((at) => ({ path: at, mode: 0o755, opaque: true })),
  }
}
