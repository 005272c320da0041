/** What tells this host from another, for people. */
import { readFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'

export interface HostFacts {
  readonly machine: string
  /** The distribution of the file system that sandboxes stand on; empty where it does not tell. */
  readonly system: string
}

export async function hostFacts(base: string): Promise<HostFacts> {
  const release = await readFile(path.join(base, 'etc/os-release'), 'utf8').catch(() => '')
  const named = /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(release)
  return { machine: os.machine(), system: named?.[1] ?? '' }
}
