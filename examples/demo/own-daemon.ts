/** A daemon with a data directory of its own, of which nothing is left. */
import { mkdtemp, rm } from 'node:fs/promises'
import { constants, tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type CheckpointNode, Client, Sandbox, type SandboxNode } from 'deltabox'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
type Signal = (typeof SIGNALS)[number] | 'SIGPIPE'

/** Gives the status to exit with. The first signal stops the work; no further one keeps what it made from being removed. */
export async function withOwnDaemon(work: (signal: AbortSignal) => Promise<void>): Promise<number> {
  const stop = new AbortController()
  for (const name of SIGNALS) process.on(name, () => stop.abort(name))
  // Whoever reads what we print has gone, as `head` does.
  process.stdout.on('error', () => stop.abort('SIGPIPE'))
  const top = await mkdtemp(path.join(tmpdir(), 'deltabox-demo-'))
  delete process.env.DELTABOX_URL
  process.env.DELTABOX_DATA = path.join(top, 'data')
  process.env.DELTABOX_RUN = path.join(top, 'run')
  try {
    await work(stop.signal)
    return 0
  } catch (error) {
    if (!stop.signal.aborted) throw error
    return 128 + constants.signals[stop.signal.reason as Signal]
  } finally {
    await removeAll()
    await rm(top, { recursive: true, force: true })
  }
}

async function removeAll(): Promise<void> {
  const client = Client.default()
  const daemon = await client.infoIfRunning()
  if (!daemon) return
  for (const { id } of await Sandbox.list()) await (await Sandbox.connect(id)).kill()
  const checkpoints = (await Sandbox.tree()).flatMap(({ children }) => children.flatMap(idsIn))
  for (const id of checkpoints) await (await Sandbox.getCheckpoint(id)).delete()
  await client.shutdown()
  while (isThere(daemon.pid)) await delay(10)
}

/** Those that others came from last. */
function idsIn(node: CheckpointNode | SandboxNode): string[] {
  return node.kind === 'sandbox' ? [] : [...node.children.flatMap(idsIn), node.id]
}

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
