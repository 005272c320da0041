import { rmdir } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import { namesIn } from '../names-in.js'
import type { SandboxRow } from './sandbox-table.js'

const BUSY_TIMEOUT_MS = 5000
const BUSY_POLL_MS = 20

/** For sandboxes whose engine is gone and cannot do it. */
export async function removeCgroups(log: Logger, directories: readonly string[]): Promise<void> {
  const deadline = Date.now() + BUSY_TIMEOUT_MS
  for (const directory of directories) {
    const left = await removeOne(directory, deadline)
    if (left) log.error({ cgroup: directory, err: left }, 'a cgroup stays behind')
  }
}

/** What is left beside those of sandboxes when their engine was killed: for what they were forked from, and for spares. */
export async function removePoolCgroups(
  log: Logger,
  sandboxes: readonly Pick<SandboxRow, 'cgroups'>[],
  uidBase: number,
): Promise<void> {
  const parents = new Set(
    sandboxes.flatMap(({ cgroups }) => cgroups.map((directory) => path.dirname(directory))),
  )
  for (const parent of parents) {
    const names = await namesIn(parent)
    const left = names.filter((name) => name === `pool-${uidBase}` || name.startsWith(`spare-${uidBase}-`))
    await removeCgroups(
      log,
      left.map((name) => path.join(parent, name)),
    )
  }
}

/** Processes that were killed keep it busy until the kernel is done with them. */
async function removeOne(directory: string, deadline: number): Promise<NodeJS.ErrnoException | undefined> {
  for (;;) {
    try {
      await rmdir(directory)
      return undefined
    } catch (error) {
      const fault = error as NodeJS.ErrnoException
      if (fault.code === 'ENOENT') return undefined
      if (fault.code !== 'EBUSY' || Date.now() > deadline) return fault
    }
    await delay(BUSY_POLL_MS)
  }
}
