/** A data directory on a file system that fills up. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, Sandbox } from 'deltabox'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TestDaemon } from './support/daemon.js'

const small = mkdtempSync(join(tmpdir(), 'dbx-'))
let daemon: TestDaemon
let client: Client
let box: Sandbox

beforeAll(async () => {
  expect(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=96m', 'none', small]).status).toBe(0)
  daemon = await TestDaemon.start({ DELTABOX_DATA: join(small, 'data') })
  client = new Client({ url: daemon.url })
  box = await Sandbox.create({ client })
})
afterAll(async () => {
  rmSync(join(small, 'filler'), { force: true })
  await daemon.clean()
  expect(spawnSync('umount', [small]).status).toBe(0)
  rmSync(small, { recursive: true })
})

function fill(): void {
  const { bavail, bsize } = statfsSync(small)
  spawnSync('dd', [
    'if=/dev/zero',
    `of=${small}/filler`,
    `bs=${bsize}`,
    `count=${bavail + 10}`,
    'status=none',
  ])
}

describe('on a full disk', () => {
  it('calls say so, running commands keep their output, and all goes on once there is room', async () => {
    await box.files.write('/root/before', 'kept')
    const chatty = await box.commands.startDetached('while :; do echo line; sleep 0.01; done')
    const doomed = await Sandbox.create({ client })
    fill()
    await expect(box.files.write('/root/large', Buffer.alloc(1 << 20))).rejects.toMatchObject({
      code: 'disk_full',
    })
    await expect(box.commands.run('true')).rejects.toMatchObject({ code: 'disk_full' })
    expect(await box.files.read('/root/before')).toBe('kept')
    await doomed.kill()
    rmSync(join(small, 'filler'))
    expect((await box.commands.run('cat /root/before')).stdout).toBe('kept')
    const short = await Sandbox.connect(doomed.id, { client }).catch((error) => error)
    expect(short).toMatchObject({ code: 'sandbox_not_found' })
    expect((await box.commands.list()).find(({ process }) => process === chatty.process)?.state).toBe(
      'running',
    )
    const other = await Sandbox.create({ client })
    await other.kill()
  })

  it('checkpoints, rollbacks and forks are made or say so, and lose nothing', async () => {
    const own = await Sandbox.create({ client })
    await own.files.write('/root/f', 'one')
    const first = await own.checkpoint()
    await own.files.write('/root/f', 'two')
    fill()
    const outcomes: string[] = []
    for (const attempt of [() => own.fork(3), () => own.checkpoint(), () => first.fork(3)]) {
      outcomes.push(
        await attempt().then(
          () => 'made',
          (error) => error.details.code ?? error.code,
        ),
      )
      expect(await own.files.read('/root/f')).toBe('two')
    }
    rmSync(join(small, 'filler'))
    expect(outcomes.filter((outcome) => outcome !== 'made' && outcome !== 'disk_full')).toEqual([])
    const forks = outcomes.filter((outcome, index) => outcome === 'made' && index !== 1).length
    expect((await Sandbox.list({ client })).length).toBe(2 + 3 * forks)
    await own.checkpoint()
    await own.rollback(first)
    expect(await own.files.read('/root/f')).toBe('one')
    for (const { id, name } of await Sandbox.list({ client })) {
      if (id !== box.id) await (await Sandbox.connect(name ?? id, { client })).kill({ checkpoints: true })
    }
  })

  it('a sandbox that fills it is stopped, and the others go on', async () => {
    const greedy = await Sandbox.create({ client })
    const filler = await greedy.commands.start(
      'while :; do head -c 2m /dev/zero >> /root/full; sleep 0.01; done',
    )
    expect(await filler.wait()).toMatchObject({ signal: 'SIGKILL' })
    const before = statfsSync(small)
    await greedy.kill()
    // Where others need its family, its files are removed in the background.
    await expect.poll(() => statfsSync(small).bavail - before.bavail).toBeGreaterThan(1000)
    writeFileSync(join(small, 'room'), 'again')
    expect((await box.commands.run('echo fine')).stdout).toBe('fine\n')
  })
})
