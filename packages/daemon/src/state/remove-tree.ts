import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)

/**
 * Removes a directory with what sandboxes wrote into it. `rm` walks by descriptor, so neither a path longer than
 * PATH_MAX stops it nor a link leads it out, and it stays off whatever is mounted below.
 */
export async function removeTree(directory: string): Promise<void> {
  await run('rm', ['-rf', '--one-file-system', '--', directory])
}
