/** What the sandboxes and checkpoints of a daemon take of the machine. */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

export const MEMORY: string =
  'Pss and page tables of all processes of the daemon’s engines: engines, sandboxes, and what is kept of checkpoints. What several ' +
  'share counts once; the daemon itself and the page cache do not'
export const DISK =
  'blocks that files in the data directory have: layers, images of processes, database, records and logs'

export function memoryBytes(dataDirectory: string): number {
  const parents = new Map(pids().map((pid) => [pid, parentOf(pid)]))
  const engines = [...parents.keys()].filter((pid) => isEngineOf(dataDirectory, pid))
  const isOurs = (pid: number): boolean => {
    for (let one = pid; one > 1; one = parents.get(one) ?? 0) if (engines.includes(one)) return true
    return false
  }
  const ours = [...parents.keys()].filter(isOurs)
  return ours.reduce((sum, pid) => sum + kilobytesOf(pid) * 1024, 0)
}

export function diskBytes(dataDirectory: string): number {
  // Files that go meanwhile let it fail, but tell of what is left.
  const { stdout } = spawnSync('du', ['--summarize', '--block-size=1', '--one-file-system', dataDirectory], {
    encoding: 'utf8',
  })
  return Number.parseInt(stdout, 10)
}

function pids(): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0)
}

/** Of a process that has ended meanwhile there is nothing to be read. */
function read<T>(look: () => T, otherwise: T): T {
  try {
    return look()
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return otherwise
    throw error
  }
}

function parentOf(pid: number): number {
  const stat = read(() => readFileSync(`/proc/${pid}/stat`, 'utf8'), '')
  // The command's name may hold spaces and parentheses: fields are counted from the last one.
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] ?? 0)
}

function isEngineOf(dataDirectory: string, pid: number): boolean {
  if (read(() => readFileSync(`/proc/${pid}/comm`, 'utf8'), '') !== 'deltabox-engine\n') return false
  return read(() => readlinkSync(`/proc/${pid}/fd/2`), '').startsWith(`${dataDirectory}/`)
}

function kilobytesOf(pid: number): number {
  const shared = read(() => readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'), '')
  const status = read(() => readFileSync(`/proc/${pid}/status`, 'utf8'), '')
  return field(shared, 'Pss') + field(status, 'VmPTE')
}

function field(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0)
}
