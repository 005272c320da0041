/** What contenders run, and what they need to. */
import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { fetched } from '../programs.js'

/** Fails with what the program has complained of. */
export const run: (program: string, args: readonly string[], options?: RunOptions) => Promise<Ran> =
  promisify(execFile)

interface RunOptions {
  readonly cwd?: string
  readonly env?: NodeJS.ProcessEnv
}

interface Ran {
  readonly stdout: string
  readonly stderr: string
}

/** Programs find what they find in a sandbox: nothing of whoever runs the benchmark. */
export const ENVIRONMENT: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/root',
  LANG: 'C.UTF-8',
}

export function mustBeRoot(): void {
  if (process.getuid?.() !== 0) throw new Error('it needs root')
}

/** What somebody names or has fetched goes before what the system has, which may be too old for its kernel. */
export function find(name: string): string {
  const variable = `DELTABOX_${name.toUpperCase()}`
  const named = process.env[variable]
  const directories = [fetched(name), ...(ENVIRONMENT.PATH ?? '').split(':')]
  const found = named ?? directories.map((directory) => path.join(directory, name)).find(isProgram)
  if (found === undefined) {
    throw new Error(`there is no ${name}; scripts/fetch-${name}.sh fetches one, ${variable} names one`)
  }
  return found
}

/** What it says of itself, in a line. */
export async function versionOf(program: string): Promise<string> {
  const { stdout } = await run(program, ['--version'])
  return stdout.trim().split('\n')[0] ?? ''
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
