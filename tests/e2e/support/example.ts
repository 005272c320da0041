/** Runs a program of examples/ against a daemon, as somebody who reads it would. */
import { execFile } from 'node:child_process'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const repository = fileURLToPath(new URL('../../../', import.meta.url))
const tsx = createRequire(import.meta.url).resolve('tsx/cli')

/** What it printed, without what is another each time. It must say nothing on standard error. */
export async function runExample(file: string, url: string): Promise<string[]> {
  const env = { PATH: process.env.PATH, HOME: process.env.HOME, DELTABOX_URL: url }
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [tsx, `examples/${file}`], {
    cwd: repository,
    env,
    timeout: 100_000,
  })
  if (stderr !== '') throw new Error(stderr)
  return stdout
    .replace(/cp-[0-9a-z-]+/g, 'cp-…')
    .trimEnd()
    .split('\n')
}
