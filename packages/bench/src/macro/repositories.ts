/** What agents work on: sources that Debian has, fetched once, or Python's own modules, which are there without a network. */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, lstatSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { fetched } from '../programs.js'
import type { Bench } from '../suite.js'

const FETCH = fileURLToPath(new URL('../../../../scripts/fetch-source.sh', import.meta.url))
const FETCHED_WITHIN_MS = 120_000

interface Source {
  readonly name: string
  /** Debian's source package. */
  readonly source: string
  /** What its modules are installed from, for where the source cannot be had. */
  readonly binary?: string
}

const SMALL: Source = { name: 'jinja2', source: 'jinja2' }
const ALL: readonly Source[] = [
  { name: 'django', source: 'python-django' },
  { name: 'sympy', source: 'sympy' },
  { name: 'numpy', source: 'numpy', binary: 'python3-numpy' },
  SMALL,
]
const FALLBACK = { name: 'python', directory: '/usr/lib/python3.11' }

export interface Repository {
  readonly name: string
  readonly directory: string
}

/** In the place of the first that cannot be had come Python's own modules. */
export function repositories({ size, record, say }: Bench): Repository[] {
  const missing: string[] = []
  const found = (size === 'full' ? ALL : [SMALL]).flatMap((source) => {
    const directory = fetched(`sources/${source.source}`)
    if (!existsSync(directory)) {
      say(`fetching ${source.name}`)
      const why = fetch(source, directory)
      if (why !== undefined) {
        missing.push(source.name)
        record.skip(`the search over ${source.name}`, why)
        return []
      }
    }
    return [{ name: source.name, directory }]
  })
  if (missing.length === 0) return found
  record.note(`Python’s own modules are searched instead of ${missing.join(' and ')}.`)
  return [...found, FALLBACK].filter(({ directory }) => existsSync(directory))
}

/** Gives the reason where it cannot. */
function fetch({ source, binary }: Source, directory: string): string | undefined {
  mkdirSync(path.dirname(directory), { recursive: true })
  const done = spawnSync(FETCH, [source, directory, ...(binary ? [binary] : [])], {
    encoding: 'utf8',
    timeout: FETCHED_WITHIN_MS,
  })
  if (done.status === 0) return undefined
  return done.stderr.trim() || `${path.basename(FETCH)} ended with ${done.status ?? done.signal}`
}

/** Text alone, which nobody else writes. */
export async function withCopy(
  { name, directory }: Repository,
  use: (workspace: string) => Promise<void>,
): Promise<void> {
  const parent = mkdtempSync(path.join(tmpdir(), 'dbb-search-'))
  const workspace = path.join(parent, name)
  try {
    cpSync(directory, workspace, { recursive: true, filter: isText })
    await use(workspace)
  } finally {
    rmSync(parent, { recursive: true, force: true })
  }
}

function isText(file: string): boolean {
  return !/\.(pyc|so|a)$/.test(file) && !lstatSync(file).isSymbolicLink()
}
