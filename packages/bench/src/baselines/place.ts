/** Where a contest keeps its files, and what it makes of them. */
import { mkdtempSync, readdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Contest } from './contender.js'
import { run } from './run.js'

export function newPlace(name: string): string {
  return mkdtempSync(path.join(tmpdir(), `dbb-${name}-`))
}

/** Extents are shared where the file system can. */
export async function copyTree(from: string, to: string): Promise<void> {
  await run('cp', ['--archive', '--reflink=auto', '--no-target-directory', from, to])
}

export async function replaceTree(from: string, to: string): Promise<void> {
  await rm(to, { recursive: true, force: true })
  await copyTree(from, to)
}

export function isEmpty(directory: string): boolean {
  return readdirSync(directory).length === 0
}

/** What does not get under way leaves nothing behind. */
export async function underWay<C extends Contest>(
  contest: C,
  start: (contest: C) => Promise<unknown>,
): Promise<C> {
  try {
    await start(contest)
    return contest
  } catch (error) {
    await contest.end()
    throw error
  }
}
