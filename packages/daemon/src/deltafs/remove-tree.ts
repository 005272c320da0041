import { execFile } from 'node:child_process'
import { lstat } from 'node:fs/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)

export function removeTree(directory: string): Promise<void> {
  return removeTrees([directory])
}

/**
 * Removes directories with what sandboxes wrote into them. `rm` walks by descriptor, so neither a path longer than
 * PATH_MAX stops it nor a link leads it out, and it stays off whatever is mounted below.
 */
export async function removeTrees(directories: readonly string[]): Promise<void> {
  // Starting a program takes this one's only thread for milliseconds.
  const there = await Promise.all(directories.map(exists))
  const left = directories.filter((_, index) => there[index])
  if (left.length > 0) await run('rm', ['-rf', '--one-file-system', '--', ...left])
}

async function exists(directory: string): Promise<boolean> {
  try {
    await lstat(directory)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}
