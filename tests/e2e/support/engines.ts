/** The engines of one daemon, as the kernel sees them. */
import { readFileSync, readlinkSync } from 'node:fs'
import path from 'node:path'
import { pidsOf, type TestDaemon } from './daemon.js'

/** By the family's id, which is the directory that the engine's log is in. */
export function enginesOf(daemon: TestDaemon): Map<string, number> {
  const engines = new Map<string, number>()
  for (const pid of pidsOf('deltabox-engine')) {
    const log = logOf(pid)
    // The jobs an engine forks are called like it.
    if (log.startsWith(`${daemon.dataDir}/families/`) && !engines.has(familyOf(log)) && !isJob(pid)) {
      engines.set(familyOf(log), pid)
    }
  }
  return engines
}

function logOf(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/fd/2`)
  } catch {
    return ''
  }
}

function familyOf(log: string): string {
  return path.basename(path.dirname(log))
}

function isJob(pid: number): boolean {
  try {
    const parent = /^PPid:\t(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return readFileSync(`/proc/${parent}/comm`, 'utf8').trim() === 'deltabox-engine'
  } catch {
    return true
  }
}
