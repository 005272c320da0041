/** What the daemon and an engine have in memory when next to nothing is asked of them. */
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import path from 'node:path'
import type { Sandbox } from 'deltabox'
import type { Recorder } from '../recorder.js'
import { type Sdk, settle } from '../suite.js'

export async function measureFootprint(
  { Client, Sandbox }: Sdk,
  record: Recorder,
  group: string,
): Promise<void> {
  const add = (operation: string, timer: string, bytes: number): void => {
    const key = { group, system: 'deltabox', operation, parameters: {}, unit: 'bytes' } as const
    record.samples({ ...key, timer }).add(bytes)
  }
  const { pid } = await Client.default().info()
  await settle()
  add('daemon-resident', 'VmRSS of a daemon that has just started', bytesOf(pid, 'VmRSS'))
  const box = await Sandbox.create()
  await settle()
  const engine = engineOf(box)
  add('engine-resident', 'VmRSS of an engine with one sandbox', bytesOf(engine, 'VmRSS'))
  add(
    'engine-own',
    'RssAnon of an engine with one sandbox: what it shares with no other',
    bytesOf(engine, 'RssAnon'),
  )
  await box.kill()
}

function bytesOf(pid: number, field: string): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(status)?.[1]) * 1024
}

/** Its log lies beside the directories of its sandboxes. The jobs it forks have the same and greater numbers. */
function engineOf({ id }: Sandbox): number {
  const pid = readdirSync('/proc')
    .map(Number)
    .sort((a, b) => a - b)
    .find((one) => one > 0 && existsSync(path.join(path.dirname(logOf(one)), 'sandboxes', id)))
  if (pid === undefined) throw new Error(`no engine is known to have ${id}`)
  return pid
}

function logOf(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/fd/2`)
  } catch {
    return '' // it ended while we looked, or has none
  }
}
