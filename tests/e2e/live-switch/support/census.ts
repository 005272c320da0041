/** All that the kernel tells of the processes of a sandbox and that a checkpoint must not change. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

export interface Member {
  readonly pid: number
  readonly hostPid: number
  readonly command: string
  readonly state: string
  readonly status: Readonly<Record<string, string>>
  readonly limits: string
  readonly cwd: string
  readonly root: string
  readonly descriptors: Readonly<Record<string, string>>
  readonly maps: readonly string[]
  readonly threads: readonly string[]
}

const KEPT =
  /^(Umask|Uid|Gid|Groups|TracerPid|Sig|Shd|Cap|NoNewPrivs|Seccomp|Seccomp_filters|Threads|NSpid|NSpgid|NSsid|VmLck|PPid)/

const O_DIRECTORY = 0o200000
const O_TMPFILE = 0o20200000

/** As the host numbers it. Undefined when there is no process of that number inside. */
export function hostPidOf(namespace: string, inner: number): number | undefined {
  return membersOf(namespace).find((pid) => innerPidOf(pid) === inner)
}

/** `namespace` is what /proc/PID/ns/pid says. The process that holds the namespace is left out. */
function membersOf(namespace: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter(
      (pid) => attempt(() => readlinkSync(`/proc/${pid}/ns/pid`)) === namespace && innerPidOf(pid) !== 1,
    )
}

/** By pid inside. */
export function census(namespace: string): Member[] {
  return membersOf(namespace)
    .flatMap((pid) => attempt(() => [member(pid)]) ?? [])
    .sort((a, b) => a.pid - b.pid)
}

function innerPidOf(pid: number): number | undefined {
  return attempt(() => Number(statusOf(pid).NSpid?.split('\t').at(-1)))
}

function member(pid: number): Member {
  const status = statusOf(pid)
  return {
    pid: Number(status.NSpid?.split('\t').at(-1)),
    hostPid: pid,
    command: status.Name ?? '',
    state: status.State ?? '',
    status: Object.fromEntries(Object.entries(status).filter(([key]) => KEPT.test(key))),
    limits: readFileSync(`/proc/${pid}/limits`, 'utf8'),
    cwd: place(readlinkSync(`/proc/${pid}/cwd`)),
    root: readlinkSync(`/proc/${pid}/root`),
    descriptors: descriptorsOf(pid),
    maps: readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n').map(withoutInode),
    threads: readdirSync(`/proc/${pid}/task`),
  }
}

function statusOf(pid: number): Record<string, string> {
  const lines = readFileSync(`/proc/${pid}/status`, 'utf8').split('\n')
  return Object.fromEntries(lines.map((line) => line.split(/:\s*/, 2)))
}

function descriptorsOf(pid: number): Record<string, string> {
  const entries = readdirSync(`/proc/${pid}/fd`).map((fd) => [fd, descriptor(pid, fd)])
  return Object.fromEntries(entries)
}

function descriptor(pid: number, fd: string): string {
  const link = readlinkSync(`/proc/${pid}/fd/${fd}`)
  const info = readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8')
  const field = (name: string): string => new RegExp(`^${name}:\t(.*)$`, 'm').exec(info)?.[1] ?? ''
  const all = Number.parseInt(field('flags'), 8)
  // That a file was made without a name is no property it could keep.
  const flags = (all & O_TMPFILE) === O_TMPFILE ? all & ~O_TMPFILE : all
  // The offset in a directory numbers entries of one mount. What was locked by whom is compared, not on which inode.
  const isDirectory = (flags & O_DIRECTORY) !== 0
  const locks = [...info.matchAll(/^lock:\t\d+: (.*) [\da-f]+:[\da-f]+:\d+ (.*)$/gm)].map(([, a = '', b]) =>
    // Of a lock that belongs to an open file it does not matter who took it.
    [a.startsWith('FLOCK') ? a.replace(/ -?\d+$/, '') : a, b].join(' '),
  )
  return [place(link), flags.toString(8), isDirectory ? '' : field('pos'), ...locks].join(' ')
}

/** A directory that was removed has no name that could be kept. */
function place(link: string): string {
  return link.endsWith(' (deleted)') ? '(deleted)' : link
}

/** The same file has another inode number and device on another mount; one that never had a name is called by it. */
function withoutInode(line: string): string {
  return line.replace(/^(\S+ \S+ \S+) \S+ \d+\s*/, '$1 ').replace(/\/\S*#\d+ \(deleted\)$/, '(deleted)')
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    // Processes end, and not all of the host's may be looked at.
    if (['ENOENT', 'ESRCH', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined
    throw error
  }
}
