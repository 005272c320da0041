import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { isThere } from '../is-there.js'

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
  const there = await Promise.all(directories.map(isThere))
  const left = directories.filter((_, index) => there[index])
  if (left.length > 0) await run('rm', ['-rf', '--one-file-system', '--', ...left])
}
