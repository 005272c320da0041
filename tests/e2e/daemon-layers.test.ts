/** Chains that are made shorter under running sandboxes: nobody sees it, and nothing is lost or left. */
import { randomInt } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { CheckpointInfo, SandboxInfo } from '@deltabox/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { TestDaemon } from './support/daemon.js'

let daemon: TestDaemon

beforeEach(async () => {
  daemon = await TestDaemon.start({ DELTABOX_MERGE_DEPTH: '6' })
})
afterEach(async () => {
  for (const { id } of (await daemon.get('/v1/sandboxes')).json.sandboxes) {
    await daemon.call('DELETE', `/v1/sandboxes/${id}?checkpoints=true`)
  }
  expect((await daemon.get('/v1/tree')).json).toEqual({ roots: [] })
  // Failures of what runs in the background are told nowhere else.
  expect(daemon.logText()).not.toMatch(/"level":[56]0/)
  await daemon.clean()
})

/** The whole of a directory in one number: names, types, modes, sizes, link targets and contents. */
const DIGEST =
  '(find . -printf "%p %y %m %U %s %l\\n" | sort; find . -type f -exec sha256sum {} + | sort) | sha256sum'
/** Some of everything that a layer can hold. */
const CHANGES = [
  (n: number) => `echo ${n} > file-${n % 7}`,
  (n: number) => `echo ${n} >> log`,
  (n: number) => `mkdir -p dir-${n % 5}/sub && echo ${n} > dir-${n % 5}/sub/f-${n}`,
  (n: number) => `rm -rf dir-${n % 5}`,
  (n: number) => `rm -rf dir-${n % 5}; mkdir dir-${n % 5}; echo ${n} > dir-${n % 5}/only`,
  (n: number) => `[ ! -d dir-${n % 5} ] || mv dir-${n % 5} moved-${n}`,
  (n: number) => `[ ! -e log ] || chmod ${600 + (n % 7)} log; ln -sfn target-${n} link`,
  (n: number) => `[ ! -f file-${n % 7} ] || ln -f file-${n % 7} hard-${n % 3}`,
  (n: number) => `rm -f file-${n % 7} && mkdir file-${n % 7} && rmdir file-${n % 7}`,
  (n: number) => `head -c ${n * 1000} /dev/urandom > random-${n % 3}`,
]

async function sh(box: string, command: string): Promise<string> {
  const { stdout, stderr, exitCode } = await daemon.run(box, command, { cwd: '/srv' })
  expect([exitCode, stderr]).toEqual([0, ''])
  return stdout
}

async function checkpoint(box: string): Promise<CheckpointInfo> {
  const reply = await daemon.call('POST', `/v1/sandboxes/${box}/checkpoints`, {})
  expect([reply.status, reply.json.error]).toEqual([201, undefined])
  return reply.json
}

async function rollback(box: string, to: string): Promise<void> {
  expect((await daemon.call('POST', `/v1/sandboxes/${box}/rollback`, { checkpoint: to })).status).toBe(200)
}

async function fork(of: string, count: number): Promise<string[]> {
  const reply = await daemon.call('POST', `/v1/checkpoints/${of}/fork`, { count })
  expect(reply.status).toBe(201)
  return reply.json.sandboxes.map(({ id }: SandboxInfo) => id)
}

async function change(box: string, count = 3): Promise<void> {
  const changes = Array.from({ length: count }, () => CHANGES[randomInt(CHANGES.length)]?.(randomInt(1000)))
  await sh(box, changes.join('\n'))
}

const merges = (): number => daemon.logText().split('layers put together').length - 1
const depthOf = async (id: string): Promise<number> => (await daemon.get(`/v1/checkpoints/${id}`)).json.depth
const layersOnDisk = (): string[] =>
  daemon.engines().flatMap((family) => {
    const directory = path.join(daemon.dataDir, 'families', family, 'layers')
    return existsSync(directory) ? readdirSync(directory).map((id) => path.join(directory, id)) : []
  })

describe('a chain that is put together', () => {
  it('shows the same in every checkpoint, and to the sandboxes on it', async () => {
    const box = (await daemon.create()).id
    const digests = new Map<string, string>()
    for (let round = 0; round < 40; round++) {
      await change(box)
      const { id } = await checkpoint(box)
      digests.set(id, await sh(box, DIGEST))
    }
    await expect.poll(merges).toBeGreaterThan(8)
    const last = [...digests].at(-1) as [string, string]
    expect(await depthOf(last[0])).toBeLessThanOrEqual(6)
    expect(await sh(box, DIGEST)).toBe(last[1])
    for (const [id, digest] of digests) {
      await rollback(box, id)
      expect(await sh(box, DIGEST)).toBe(digest)
    }
  })

  it('goes unnoticed by those who work on it', async () => {
    const box = (await daemon.create()).id
    await sh(box, 'mkdir -p deep/er; echo 1 > deep/er/kept')
    const { process } = await daemon.startCommand(box, { command: ['python3', '-c', WORKER], cwd: '/srv' })
    for (let round = 0; round < 30; round++) {
      await checkpoint(box)
      await delay(randomInt(30))
    }
    expect(merges()).toBeGreaterThan(3)
    await sh(box, 'touch /srv/stop')
    const frames = await daemon.output(box, process, '?attach=true')
    const text = frames.map(({ type, payload }) => (type < 3 ? String(payload) : '')).join('')
    expect(JSON.parse(String(frames.at(-1)?.payload))).toMatchObject({ exitCode: 0 })
    expect(text).toBe('nothing was amiss\n')
  })

  it('is shared by forks that go their own ways meanwhile', async () => {
    const box = (await daemon.create()).id
    for (let round = 0; round < 6; round++) {
      await change(box)
      await checkpoint(box)
    }
    const { id } = await checkpoint(box)
    const digest = await sh(box, DIGEST)
    const kids = await fork(id, 4)
    const taken = await Promise.all(
      [box, ...kids].map(async (one) => {
        expect(await sh(one, DIGEST)).toBe(digest)
        const own: [string, string][] = []
        for (let round = 0; round < 12; round++) {
          await change(one)
          own.push([(await checkpoint(one)).id, await sh(one, DIGEST)])
        }
        return own
      }),
    )
    // Each goes to the states that another took.
    for (const [index, one] of [box, ...kids].entries()) {
      for (const [to, wanted] of taken[(index + 1) % taken.length] ?? []) {
        await rollback(one, to)
        expect(await sh(one, DIGEST)).toBe(wanted)
      }
    }
    await rollback(box, id)
    expect(await sh(box, DIGEST)).toBe(digest)
  }, 240_000)

  it('leaves the layers that nothing shows any more, once their checkpoints are gone', async () => {
    const box = (await daemon.create()).id
    const ids: string[] = []
    for (let round = 0; round < 20; round++) {
      await change(box, 1)
      ids.push((await checkpoint(box)).id)
    }
    const digest = await sh(box, DIGEST)
    for (const id of ids) expect((await daemon.call('DELETE', `/v1/checkpoints/${id}`)).status).toBe(204)
    // A sandbox is moved off the layers that were put together when it switches next.
    const surplus = async (): Promise<number> => {
      await sh(box, 'touch more; rm more; touch -d @1 .')
      const { id } = await checkpoint(box)
      await delay(100)
      const depth = await depthOf(id)
      await daemon.call('DELETE', `/v1/checkpoints/${id}`)
      return layersOnDisk().length - depth
    }
    await expect.poll(surplus, { timeout: 20_000 }).toBe(1)
    expect(await sh(box, DIGEST)).toBe(digest)
    const records = layersOnDisk().map((layer) => path.join(layer, 'layer.json'))
    await expect
      .poll(() => records.filter((file) => existsSync(file)).length, { timeout: 10_000 })
      .toBe(records.length - 1)
    const known = new Map(
      records
        .filter((file) => existsSync(file))
        .map((file) => JSON.parse(readFileSync(file, 'utf8')))
        .map((record) => [record.id, record]),
    )
    for (const { parent } of known.values()) if (parent !== null) expect(known.has(parent)).toBe(true)
  })

  it('can be interrupted by the end of the daemon', async () => {
    const box = (await daemon.create()).id
    const digests = new Map<string, string>()
    for (let round = 0; round < 6; round++) {
      for (let step = 0; step < 5; step++) {
        await change(box)
        const digest = await sh(box, DIGEST)
        digests.set((await checkpoint(box)).id, digest)
      }
      if (round % 2 === 0) await daemon.kill()
      else await daemon.stop()
      await daemon.start()
    }
    for (const [id, digest] of digests) {
      await rollback(box, id)
      expect(await sh(box, DIGEST)).toBe(digest)
    }
  })
})

const WORKER = `
import os, sys
kept = open('deep/er/kept')
log = open('log', 'a')
written = 0
while not os.path.exists('stop'):
    assert open('deep/er/kept').read() == '1\\\\n'
    assert kept.seek(0) == 0 and kept.read() == '1\\\\n'
    assert sorted(os.listdir('deep')) == ['er'], os.listdir('deep')
    log.write(f'{written}\\\\n')
    log.flush()
    written += 1
    os.makedirs(f'w/{written % 10}', exist_ok=True)
    os.rename(f'w/{written % 10}', f'w/x')
    os.rmdir('w/x')
    assert os.listdir('w') == [], os.listdir('w')
assert open('log').read() == ''.join(f'{n}\\\\n' for n in range(written))
print('nothing was amiss')
`.replaceAll('\\\\', '\\')

describe('what is written', () => {
  it('counts with what checkpoints have frozen of it', async () => {
    const box = (await daemon.create({ diskBytes: 64 * 1024 * 1024 })).id
    for (let round = 0; round < 3; round++) {
      await sh(box, `head -c 10000000 /dev/urandom > f-${round}`)
      await checkpoint(box)
    }
    const { diskBytes } = (await daemon.get(`/v1/sandboxes/${box}/stats`)).json
    expect(diskBytes).toBeGreaterThan(30_000_000)
    expect(diskBytes).toBeLessThan(31_000_000)
    const result = await daemon.run(box, 'head -c 100000000 /dev/zero > /srv/much; sleep 60')
    expect(result).toMatchObject({ diskKilled: true, signal: 'SIGKILL' })
  })
  it('counts again when it has gone back', async () => {
    const box = (await daemon.create({ diskBytes: 30_000_000 })).id
    const before = await checkpoint(box)
    for (let round = 0; round < 3; round++) {
      const result = await daemon.run(box, 'head -c 100000000 /dev/zero > /srv/much; sleep 60')
      expect(result).toMatchObject({ diskKilled: true, signal: 'SIGKILL' })
      await daemon.call('POST', `/v1/sandboxes/${box}/rollback`, { checkpoint: before.id })
    }
    const { diskBytes } = (await daemon.get(`/v1/sandboxes/${box}/stats`)).json
    expect(diskBytes).toBeLessThan(1_000_000)
  })
})
