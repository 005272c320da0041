/** What is run inside of sandboxes and beside them, and where what was fetched for that is kept. */
import { execFileSync } from 'node:child_process'
import { homedir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export function program(name: string): string {
  return fileURLToPath(new URL(`../programs/${name}`, import.meta.url))
}

/** Gives the path of what was made of a C program, or of a library with `-shared`. */
export function compiled(name: string, directory: string, ...options: readonly string[]): string {
  const output = path.join(directory, path.basename(name, '.c'))
  execFileSync('gcc', ['-O2', '-Wall', '-Werror', ...options, '-o', output, program(name)])
  return output
}

/** Scripts keep there what they have fetched. */
export function fetched(name: string): string {
  return path.join(process.env.XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'deltabox', name)
}
