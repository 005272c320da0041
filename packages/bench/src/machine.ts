/** What a figure depends on. */
import { spawnSync } from 'node:child_process'
import { cpus, release, tmpdir, totalmem } from 'node:os'

export interface Machine {
  readonly kernel: string
  readonly cpu: string
  readonly cpus: number
  readonly memoryBytes: number
  /** Of where sandboxes are kept meanwhile. */
  readonly fileSystem: string
  readonly virtualised: string
  readonly node: string
}

function printed(program: string, args: readonly string[]): string {
  return spawnSync(program, args, { encoding: 'utf8' }).stdout?.trim() || 'unknown'
}

export function machine(): Machine {
  return {
    kernel: release(),
    cpu: cpus()[0]?.model ?? 'unknown',
    cpus: cpus().length,
    memoryBytes: totalmem(),
    fileSystem: printed('stat', ['--file-system', '--format=%T', tmpdir()]),
    virtualised: printed('systemd-detect-virt', []),
    node: process.version,
  }
}
