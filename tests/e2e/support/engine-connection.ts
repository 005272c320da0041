/** The engine itself, while no daemon speaks to it. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import path from 'node:path'
import { EngineClient } from '../../../packages/daemon/src/engine/client.js'
import type { Hello } from '../../../packages/daemon/src/engine/messages.js'

export interface EngineConnection {
  readonly engine: EngineClient
  readonly pid: number
  readonly hello: Hello
}

/** Of the engines of a daemon that has been killed, the one with the most sandboxes. */
export async function connectEngine(runBase: string): Promise<EngineConnection> {
  const [directory = ''] = readdirSync(runBase)
  const sockets = readdirSync(path.join(runBase, directory)).filter((name) => name.startsWith('e-'))
  const clients = await Promise.all(
    sockets.map((name) =>
      EngineClient.connect(path.join(runBase, directory, name), {
        event: () => undefined,
        lost: () => undefined,
        answered: () => undefined,
      }),
    ),
  )
  const [found, ...others] = clients.sort((a, b) => b.hello.sandboxes.length - a.hello.sandboxes.length)
  for (const { client } of others) client.close()
  if (!found) throw new Error('no engine')
  return { engine: found.client, pid: found.hello.pid, hello: found.hello }
}

export interface Held {
  readonly mounts: readonly string[]
  readonly descriptors: readonly string[]
}

/** What an engine has mounted and open. */
export function heldBy(pid: number): Held {
  return {
    mounts: mountsOf(pid),
    descriptors: readdirSync(`/proc/${pid}/fd`)
      .flatMap((fd) => descriptorOf(pid, fd))
      .sort(),
  }
}

export function mountsOf(pid: number): string[] {
  return readFileSync(`/proc/${pid}/mountinfo`, 'utf8').split('\n').sort()
}

function descriptorOf(pid: number, fd: string): string[] {
  try {
    return [`${fd} ${readlinkSync(`/proc/${pid}/fd/${fd}`)}`]
  } catch {
    return []
  }
}
