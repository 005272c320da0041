/** All processes of a family as the host sees them: those of its sandboxes, and what the engine keeps for itself. */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import path from 'node:path'
import type { TestDaemon } from '../../e2e/support/daemon.js'
import { enginesOf } from '../../e2e/support/engines.js'

const ID_RANGE = 65536

export interface Relative {
  readonly pid: number
  readonly parent: number
  readonly tracer: number
  readonly command: string
  /** As /proc/PID/ns/pid says. */
  readonly namespace: string
  /** In its innermost namespace. */
  readonly inner: number
}

export class Family {
  readonly directory: string
  readonly engine: number
  readonly firstUid: number

  /** That of a sandbox which lives. */
  constructor(daemon: TestDaemon, sandbox: string) {
    const families = path.join(daemon.dataDir, 'families')
    const name = readdirSync(families).find((family) =>
      existsSync(path.join(families, family, 'sandboxes', sandbox)),
    )
    this.directory = path.join(families, name ?? '')
    this.engine = enginesOf(daemon).get(name ?? '') ?? 0
    const [child] = allPids().filter((pid) => Number(field(pid, 'PPid')) === this.engine && uidOf(pid) > 0)
    this.firstUid = uidOf(child ?? 0) - (uidOf(child ?? 0) % ID_RANGE)
  }

  /** Without those that have ended and only wait for somebody to ask how. */
  members(): Relative[] {
    return allPids()
      .filter((pid) => uidOf(pid) >= this.firstUid && uidOf(pid) < this.firstUid + ID_RANGE)
      .filter((pid) => !field(pid, 'State').startsWith('Z'))
      .flatMap(relative)
  }

  templates(): Relative[] {
    const pool = this.#pool()
    return this.standing(new Set()).filter(({ namespace }) => namespace === pool)
  }

  /** What is made ahead of need, while nothing else is made. */
  spares(): Relative[] {
    const pool = this.#pool()
    return this.standing(new Set()).filter(({ namespace }) => namespace !== pool)
  }

  #pool(): string | undefined {
    const holder = allPids().find(
      (pid) => Number(field(pid, 'PPid')) === this.engine && field(pid, 'Name') === 'deltabox-pool',
    )
    return relative(holder ?? 0)[0]?.namespace
  }

  /** Templates, processes that are being made, and those that are made ahead of need. */
  standing(live: ReadonlySet<number>): Relative[] {
    return this.members().filter(({ pid, tracer }) => tracer === this.engine && !live.has(pid))
  }
}

function allPids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
}

function field(pid: number, name: string): string {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    return new RegExp(`^${name}:\t(.*)$`, 'm').exec(status)?.[1] ?? ''
  } catch {
    return ''
  }
}

function uidOf(pid: number): number {
  return Number.parseInt(field(pid, 'Uid') || '0', 10)
}

function relative(pid: number): Relative[] {
  try {
    return [
      {
        pid,
        parent: Number(field(pid, 'PPid')),
        tracer: Number(field(pid, 'TracerPid')),
        command: field(pid, 'Name'),
        namespace: readlinkSync(`/proc/${pid}/ns/pid`),
        inner: Number(field(pid, 'NSpid').split('\t').at(-1)),
      },
    ]
  } catch {
    return []
  }
}

/** Those of other sandboxes come and go while it is looked for. */
export function cgroupsOf(sandbox: string): string[] {
  const { stdout } = spawnSync('find', ['/sys/fs/cgroup', '-type', 'd', '-name', `*${sandbox}*`], {
    encoding: 'utf8',
  })
  return stdout.split('\n').filter((line) => line !== '')
}
