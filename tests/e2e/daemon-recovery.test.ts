/** Whenever the daemon or an engine is killed: every checkpoint that was told of is there and whole, and nothing else. */
import { randomInt } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { CheckpointInfo, SandboxInfo } from '@deltabox/protocol'
import { afterEach, expect, it } from 'vitest'
import { TestDaemon } from './support/daemon.js'
import { enginesOf } from './support/engines.js'

let daemon: TestDaemon
/** What each checkpoint that was reported holds. */
let expected: Map<string, string>

async function start(): Promise<void> {
  // Layers are counted here: none are put together.
  daemon = await TestDaemon.start({ DELTABOX_WARM: '0', DELTABOX_MERGE_DEPTH: '400' })
  expected = new Map()
}

afterEach(async () => {
  await removeEverything()
  await daemon.stop()
  expect(existsSync(daemon.socket)).toBe(false)
  expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(daemon.directory)
  await daemon.clean()
})

/** With the last checkpoint and the last sandbox go the family's directory, its row and its engine. */
async function removeEverything(): Promise<void> {
  for (const { id } of (await daemon.get('/v1/sandboxes')).json.sandboxes) {
    await daemon.call('DELETE', `/v1/sandboxes/${id}`)
  }
  for (const id of expected.keys()) {
    expect((await daemon.call('DELETE', `/v1/checkpoints/${id}`)).status).toBe(204)
  }
  expect((await daemon.get('/v1/tree')).json).toEqual({ roots: [] })
  expect([daemon.engines(), [...enginesOf(daemon)]]).toEqual([[], []])
}

async function sh(box: string, command: string): Promise<string> {
  const { stdout, stderr, exitCode } = await daemon.run(box, command)
  expect([exitCode, stderr]).toEqual([0, ''])
  return stdout
}

const checkpoint = (box: string) => daemon.call('POST', `/v1/sandboxes/${box}/checkpoints`, {})
const rollback = (box: string, to: string) =>
  daemon.call('POST', `/v1/sandboxes/${box}/rollback`, { checkpoint: to })
const infoOf = async (box: string): Promise<SandboxInfo> => (await daemon.get(`/v1/sandboxes/${box}`)).json

async function fork(of: string, count = 1): Promise<string[]> {
  const reply = await daemon.call(
    'POST',
    `/v1/${of.startsWith('cp-') ? 'checkpoints' : 'sandboxes'}/${of}/fork`,
    {
      count,
    },
  )
  expect([reply.status, reply.json.error]).toEqual([201, undefined])
  return reply.json.sandboxes.map(({ id }: SandboxInfo) => id)
}

/** Writes and takes checkpoints until something dies. */
async function work(box: string, from: number): Promise<number> {
  for (let step = from; ; step++) {
    const value = `${step}-${randomInt(1e9)}`
    try {
      const write = await daemon.upload('PUT', `/v1/sandboxes/${box}/files/content?path=/srv/state`, value)
      if (write.status !== 200) return step
      const taken = await checkpoint(box)
      if (taken.status !== 201) return step
      expected.set((taken.json as CheckpointInfo).id, value)
    } catch {
      return step
    }
  }
}

/** In a sandbox of their family, which is rolled back to each. */
async function expectWhole(box: string): Promise<void> {
  for (const [id, value] of expected) {
    expect((await daemon.get(`/v1/checkpoints/${id}`)).json.id).toBe(id)
    expect((await rollback(box, id)).status).toBe(200)
    expect(await sh(box, 'cat /srv/state')).toBe(value)
  }
}

/** Layers on the disk, of all families, once nothing is being removed. */
async function layersAtRest(): Promise<number> {
  for (let last = -1; ; ) {
    const now = daemon
      .engines()
      .flatMap((family) => readdirSync(path.join(daemon.dataDir, 'families', family, 'layers'))).length
    if (now === last) return now
    last = now
    await delay(200)
  }
}

it('a daemon that is killed while it takes checkpoints loses none, and leaves nothing', async () => {
  await start()
  const box = (await daemon.create()).id
  let step = 0
  for (let round = 0; round < 12; round++) {
    const working = work(box, step)
    await expect.poll(() => expected.size, { timeout: 10_000 }).toBeGreaterThan(0)
    await delay(randomInt(20, 150))
    await daemon.kill()
    step = await working
    await daemon.start()
    expect((await infoOf(box)).state).toBe('running')
    const listed = (await daemon.get(`/v1/sandboxes/${box}/checkpoints`)).json.checkpoints
    // One that was registered when its daemon died may not have been told of.
    const untold = listed.filter(({ id }: CheckpointInfo) => !expected.has(id))
    expect(untold.length).toBeLessThanOrEqual(1)
    for (const { id } of untold) await daemon.call('DELETE', `/v1/checkpoints/${id}`)
    expect(listed.map(({ id }: CheckpointInfo) => id)).toEqual(expect.arrayContaining([...expected.keys()]))
  }
  expect(expected.size).toBeGreaterThan(12)
  await expectWhole(box)
  // Standing on a checkpoint, all that is left is a layer for each, at most one for each kill, and the head.
  expect(await layersAtRest()).toBeLessThanOrEqual(expected.size + 12 + 1)
}, 240_000)

it('an engine that is killed while checkpoints are taken takes its sandboxes with it, and no checkpoint', async () => {
  await start()
  let box = (await daemon.create()).id
  const [family = ''] = enginesOf(daemon).keys()
  let step = 0
  for (let round = 0; round < 8; round++) {
    const working = work(box, step)
    await expect.poll(() => expected.size, { timeout: 10_000 }).toBeGreaterThan(0)
    await delay(randomInt(20, 150))
    process.kill(enginesOf(daemon).get(family) ?? 0, 'SIGKILL')
    step = await working
    await expect.poll(async () => (await infoOf(box)).state).toBe('dead')
    await daemon.call('DELETE', `/v1/sandboxes/${box}`)
    expect(daemon.engines()).toEqual([family])
    box = (await fork([...expected.keys()].at(-1) ?? ''))[0] ?? ''
    expect(await sh(box, 'cat /srv/state')).toBe([...expected.values()].at(-1))
  }
  await expectWhole(box)
  expect(await layersAtRest()).toBeLessThanOrEqual(expected.size + 1)
}, 240_000)

it('both that are killed, at any moment, lose no checkpoint', async () => {
  await start()
  let box = (await daemon.create()).id
  const [family = ''] = enginesOf(daemon).keys()
  let step = 0
  for (let round = 0; round < 8; round++) {
    const working = work(box, step)
    await expect.poll(() => expected.size, { timeout: 10_000 }).toBeGreaterThan(0)
    await delay(randomInt(20, 120))
    const victims = [() => daemon.kill(), () => process.kill(enginesOf(daemon).get(family) ?? 0, 'SIGKILL')]
    if (round % 2 === 1) victims.reverse()
    for (const kill of victims) await kill()
    step = await working
    await daemon.start()
    expect((await infoOf(box)).state).toBe('dead')
    await daemon.call('DELETE', `/v1/sandboxes/${box}`)
    box = (await fork([...expected.keys()].at(-1) ?? ''))[0] ?? ''
  }
  await removeUntold()
  await expectWhole(box)
  expect(await layersAtRest()).toBeLessThanOrEqual(expected.size + 1)
}, 240_000)

async function removeUntold(): Promise<void> {
  const ids = (nodes: { kind: string; id: string; children?: never[] }[]): string[] =>
    nodes.flatMap((node) => [...(node.kind === 'checkpoint' ? [node.id] : []), ...ids(node.children ?? [])])
  const [root] = (await daemon.get('/v1/tree')).json.roots
  for (const id of ids(root.children)) {
    if (!expected.has(id)) await daemon.call('DELETE', `/v1/checkpoints/${id}`)
  }
}

/**
 * The engine has the request and the daemon is gone before there is an answer. What it has not read when it notices
 * that nobody listens it drops: then nothing has happened.
 */
async function killWhileTheEngineWorks(ask: () => Promise<unknown>): Promise<void> {
  const [engine = 0] = enginesOf(daemon).values()
  process.kill(engine, 'SIGSTOP')
  const asked = ask().catch(() => undefined)
  await delay(200)
  await daemon.kill()
  await asked
  process.kill(engine, 'SIGCONT')
  const starts = logged('daemon ready')
  await expect.poll(() => readFileSync(`/proc/${engine}/wchan`, 'utf8')).toMatch(/ep_poll|epoll_wait/)
  await daemon.start()
  await expect.poll(() => logged('daemon ready')).toBe(starts + 1)
}

const logged = (what: string): number => daemon.logText().split(what).length - 1
const settled = (): number => logged('while it switched layers; settled')

const COUNTER = `
import itertools, os, time
for i in itertools.count():
    with open('count.new', 'w') as file:
        print(i, file=file)
    os.replace('count.new', 'count')
    time.sleep(0.01)
`

it('a switch that only the engine knows of is settled when the next daemon comes', async () => {
  await start()
  const box = (await daemon.create()).id
  const put = (value: string) =>
    daemon.upload('PUT', `/v1/sandboxes/${box}/files/content?path=/srv/state`, value)
  await put('one')
  const { id: first } = (await checkpoint(box)).json
  expected.set(first, 'one')
  const counter = await daemon.startCommand(box, {
    command: ['python3', '-c', COUNTER],
    cwd: '/srv',
    detached: true,
  })
  await put('two')

  while (settled() < 1) await killWhileTheEngineWorks(() => checkpoint(box))
  expect(await infoOf(box)).toMatchObject({ state: 'running', checkpoint: first })
  expect((await daemon.get(`/v1/sandboxes/${box}/checkpoints`)).json.checkpoints.length).toBe(1)
  expect(await sh(box, 'cat /srv/state')).toBe('two')
  const count = await sh(box, 'cat /srv/count')
  await expect.poll(() => sh(box, 'cat /srv/count'), { timeout: 10_000 }).not.toBe(count)
  expect((await daemon.get(`/v1/sandboxes/${box}/commands/${counter.process}`)).json.state).toBe('running')

  await put('three')
  const { id: second } = (await checkpoint(box)).json
  expected.set(second, 'three')
  while ((await infoOf(box)).checkpoint === second) {
    expect(await sh(box, 'cat /srv/state')).toBe('three')
    await killWhileTheEngineWorks(() => rollback(box, first))
  }
  expect(settled()).toBe(2)
  expect(await infoOf(box)).toMatchObject({ state: 'running', checkpoint: first })
  expect(await sh(box, 'cat /srv/state')).toBe('one')
  expect((await daemon.get(`/v1/sandboxes/${box}/commands/${counter.process}`)).json).toMatchObject({
    state: 'exited',
    signal: 'SIGKILL',
  })

  await killWhileTheEngineWorks(() => fork(second, 3))
  expect((await daemon.get('/v1/sandboxes')).json.sandboxes.map(({ id }: SandboxInfo) => id)).toEqual([box])
  await killWhileTheEngineWorks(() => fork(box, 3))
  expect((await daemon.get('/v1/sandboxes')).json.sandboxes.map(({ id }: SandboxInfo) => id)).toEqual([box])
  await expectWhole(box)
  expect(await layersAtRest()).toBeLessThanOrEqual(5)

  await killWhileTheEngineWorks(() => daemon.call('DELETE', `/v1/sandboxes/${box}`))
  expect((await daemon.get('/v1/sandboxes')).json.sandboxes).toEqual([])
  // It holds the processes of the checkpoint.
  expect(enginesOf(daemon).size).toBe(1)
  const [kid = ''] = await fork(second)
  expect(await sh(kid, 'cat /srv/state')).toBe('three')
  expect((await daemon.get(`/v1/sandboxes/${kid}/commands/${counter.process}`)).json.state).toBe('running')
}, 120_000)

it('a dead sandbox lives again when it is rolled back', async () => {
  await start()
  const { id: box } = await daemon.create({ name: 'phoenix', env: { A: 'b' } })
  await sh(box, 'echo -n 1 > /srv/state')
  const { id } = (await checkpoint(box)).json
  expected.set(id, '1')
  await daemon.startCommand(box, { command: 'sleep 1000', detached: true })
  const kill = async (): Promise<void> => {
    for (const pid of enginesOf(daemon).values()) process.kill(pid, 'SIGKILL')
    await expect.poll(async () => (await infoOf(box)).state).toBe('dead')
  }
  await kill()
  expect((await checkpoint(box)).json.error.code).toBe('sandbox_dead')
  expect((await rollback(box, id)).status).toBe(200)
  expect(await infoOf(box)).toMatchObject({ id: box, name: 'phoenix', state: 'running', checkpoint: id })
  expect(await infoOf(box)).not.toHaveProperty('reason')
  expect(await sh('phoenix', 'cat /srv/state; echo $A')).toBe('1b\n')
  const { processes } = (await daemon.get(`/v1/sandboxes/${box}/commands`)).json
  expect(processes.filter(({ state }: { state: string }) => state !== 'exited')).toEqual([])

  // After a restart of the host nothing runs and the run directory is empty.
  await daemon.kill()
  for (const pid of enginesOf(daemon).values()) process.kill(pid, 'SIGKILL')
  rmSync(daemon.runBase, { recursive: true })
  await daemon.start()
  expect((await infoOf(box)).state).toBe('dead')
  const { parent } = (await daemon.get(`/v1/checkpoints/${id}`)).json
  expect(parent).toBeNull()
  expect((await rollback(box, id)).status).toBe(200)
  expect(await sh(box, 'cat /srv/state; echo -n 2 > /srv/state')).toBe('1')
  const second = (await checkpoint(box)).json
  expected.set(second.id, '2')
  await kill()
  expect((await daemon.call('DELETE', `/v1/sandboxes/${box}`)).json).toEqual({ checkpoints: 2 })
})

it('a family sleeps while it has checkpoints only, and is the same when it wakes', async () => {
  await start()
  const { id: box, ...info } = await daemon.create({ name: 'first', env: { A: 'b' }, cwd: '/srv' })
  const owner = await sh(box, 'echo 1 > /srv/state; hostname; id -u; cat /proc/self/uid_map')
  const { id } = (await checkpoint(box)).json
  expected.set(id, '1\n')
  expect((await daemon.call('DELETE', `/v1/sandboxes/${box}`)).json).toEqual({ checkpoints: 1 })
  expect([...enginesOf(daemon)]).toEqual([])
  const [family = ''] = daemon.engines()
  await daemon.stop()
  await daemon.start()
  expect(daemon.engines()).toEqual([family])
  const kids = await fork(id, 3)
  expect([...enginesOf(daemon).keys()]).toEqual([family])
  for (const kid of kids) {
    const { base, workspace, cwd, net, limits } = info
    expect(await infoOf(kid)).toMatchObject({ base, workspace, cwd, net, limits, name: null, checkpoint: id })
    expect(await sh(kid, 'hostname; id -u; cat /proc/self/uid_map')).toBe(owner)
    expect(await sh(kid, 'pwd; echo $A; cat state')).toBe('/srv\nb\n1\n')
    await daemon.call('DELETE', `/v1/sandboxes/${kid}`)
  }
  expect([...enginesOf(daemon)]).toEqual([])
})
