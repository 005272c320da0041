/** A daemon in a directory of its own, of which nothing is left. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { BaseNode } from 'deltabox'
import { type Sdk, until } from './suite.js'

/** Of this program. The SDK remembers where it has found the first daemon: one that follows another takes its place. */
let home: string | undefined

/**
 * The SDK is imported only once the environment says where its daemon is. There may be another one afterwards, with another
 * environment; a `DELTABOX_DATA` that is named must be the same for all of a program.
 */
export async function withOwnDaemon(
  run: (sdk: Sdk) => Promise<void>,
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  home ??= mkdtempSync(path.join(tmpdir(), 'dbb-'))
  delete process.env.DELTABOX_URL
  const before = setEnvironment({
    DELTABOX_DATA: path.join(home, 'data'),
    DELTABOX_RUN: path.join(home, 'run'),
    ...env,
  })
  try {
    const sdk = await import('deltabox')
    try {
      await run(sdk)
    } finally {
      await end(sdk)
    }
  } finally {
    rmSync(home, { recursive: true, force: true })
    setEnvironment(before)
  }
}

type Environment = Readonly<Record<string, string | undefined>>

/** Gives what was there before. */
function setEnvironment(changes: Environment): Environment {
  const before = Object.fromEntries(Object.keys(changes).map((name) => [name, process.env[name]]))
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) delete process.env[name]
    else process.env[name] = value
  }
  return before
}

/** Engines stay as long as they have a checkpoint, whether or not there is a daemon. */
async function end({ Client, Sandbox }: Sdk): Promise<void> {
  for (const { id } of await Sandbox.list()) await (await Sandbox.connect(id)).kill({ checkpoints: true })
  for (const { children } of await Sandbox.tree()) {
    for (const id of checkpointsIn(children)) await (await Sandbox.getCheckpoint(id)).delete()
  }
  const { pid } = await Client.default().info()
  await Client.default().shutdown()
  await until(async () => !existsSync(`/proc/${pid}`))
}

/** The youngest first. */
function checkpointsIn(nodes: BaseNode['children']): string[] {
  return nodes.flatMap((node) =>
    node.kind === 'checkpoint' ? [...checkpointsIn(node.children), node.id] : [],
  )
}
