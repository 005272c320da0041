/** Under another kernel than the one they were taken under, checkpoints have their files, and say that they have not more. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Client, Sandbox } from 'deltabox'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { TestDaemon } from '../e2e/support/daemon.js'
import { enginesOf } from '../e2e/support/engines.js'
import { sh } from '../e2e/support/use-boxes.js'

const engine =
  process.env.DELTABOX_ENGINE ?? fileURLToPath(new URL('../../native/build/deltabox-engine', import.meta.url))

let directory: string
let daemon: TestDaemon
let client: Client

/** An engine to which the kernel tells another release: as programs ask for that do not understand the real one. */
function elsewhere(): string {
  const wrapper = path.join(directory, 'engine')
  writeFileSync(wrapper, `#!/bin/sh\nexec setarch --uname-2.6 ${engine} "$@"\n`)
  chmodSync(wrapper, 0o755)
  return wrapper
}

beforeEach(async () => {
  directory = mkdtempSync(path.join(tmpdir(), 'dbx-kernel-'))
  daemon = await TestDaemon.start()
  client = new Client({ url: daemon.url })
})
afterEach(async () => {
  await daemon.clean()
  rmSync(directory, { recursive: true, force: true })
})

async function durable(box: Sandbox): Promise<string> {
  const { id } = await box.checkpoint()
  await expect.poll(async () => (await Sandbox.getCheckpoint(id, { client })).state).toBe('durable')
  return id
}

async function restart(env: Record<string, string>): Promise<void> {
  await daemon.kill()
  Object.assign(daemon.env, env)
  for (const pid of enginesOf(daemon).values()) process.kill(pid, 'SIGKILL')
  await daemon.start()
  client = new Client({ url: daemon.url })
}

it('a rollback brings the files and tells how many processes are lost; under the old kernel they come again', async () => {
  const box = await Sandbox.create({ client })
  const command = await box.commands.start('echo $$ > /root/pid; exec sleep 1000')
  await sh(box, 'echo kept > /root/a')
  const checkpoint = await durable(box)
  await restart({ DELTABOX_ENGINE: elsewhere() })
  const after = await Sandbox.connect(box.id, { client })
  expect(await after.rollback(checkpoint)).toMatchObject({ processes: 0, lost: 1 })
  expect(await sh(after, 'cat /root/a; pgrep -c sleep || true; uname -r')).toMatch(/^kept\n0\n2\.6\./)
  const [kid] = await (await Sandbox.getCheckpoint(checkpoint, { client })).fork()
  if (!kid) throw new Error('one was wanted')
  expect(await sh(kid, 'cat /root/a; pgrep -c sleep || true')).toBe('kept\n0\n')
  await restart({ DELTABOX_ENGINE: engine })
  const again = await Sandbox.connect(box.id, { client })
  expect(await again.rollback(checkpoint)).toMatchObject({ processes: 1, lost: 0, source: 'image' })
  expect(await again.commands.list()).toMatchObject([{ process: command.process, state: 'running' }])
})

it('an import tells that the processes cannot be brought back', async () => {
  const box = await Sandbox.create({ client })
  await box.commands.start('exec sleep 1000')
  await sh(box, 'echo kept > /root/a')
  const content = Buffer.concat(await (await (await box.checkpoint()).export()).toArray())
  const there = await TestDaemon.start({ DELTABOX_ENGINE: elsewhere() })
  try {
    const other = new Client({ url: there.url })
    const { checkpoint, warnings } = await Sandbox.import(content, { client: other })
    expect(warnings).toEqual([
      expect.stringContaining('its processes cannot be brought back here, its files can'),
    ])
    const [kid] = await checkpoint.fork()
    if (!kid) throw new Error('one was wanted')
    expect(await sh(kid, 'cat /root/a; pgrep -c sleep || true')).toBe('kept\n0\n')
  } finally {
    await there.clean()
  }
})
