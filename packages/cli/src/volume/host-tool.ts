import { execFile } from 'node:child_process'
import { DeltaBoxError } from 'deltabox'

export interface HostTool {
  readonly name: string
  /** What Debian and Ubuntu call the package it is in. */
  readonly package: string
}

/** `su` without a login leaves these out, and they are where such tools are. */
const SYSTEM_PATHS = '/usr/sbin:/sbin'

/** Runs a program of the host to its end; `doing` completes "cannot …". */
export function runHostTool(tool: HostTool, args: readonly string[], doing: string): Promise<void> {
  const env = { ...process.env, PATH: `${process.env.PATH ?? ''}:${SYSTEM_PATHS}`, LC_ALL: 'C' }
  return new Promise((resolve, reject) => {
    execFile(tool.name, args, { env }, (error, _stdout, stderr) => {
      if (!error) resolve()
      else if (error.code === 'ENOENT') reject(missing(tool, doing, error))
      else reject(volumeError(doing, stderr.trim() || error.message, error))
    })
  })
}

function missing(tool: HostTool, doing: string, cause: Error): DeltaBoxError {
  return new DeltaBoxError(
    'tool_missing',
    `Cannot ${doing}: ${tool.name} is not installed; it is in the package ${tool.package} (\`apt-get install ${tool.package}\`)`,
    { cause, details: { tool: tool.name, package: tool.package } },
  )
}

export function volumeError(doing: string, why: string, cause?: unknown): DeltaBoxError {
  return new DeltaBoxError('volume_failed', `Cannot ${doing}: ${why}`, { cause })
}
