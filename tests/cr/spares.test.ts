/** Processes of checkpoints that stand ready in cells made ahead of need: nobody sees them, nothing is left of them. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { linesOf } from '@deltabox/bench/inside'
import { type Checkpoint, Sandbox } from 'deltabox'
import { describe, expect, it } from 'vitest'
import { useDaemon } from '../e2e/support/use-daemon.js'
import { cgroupsOf, Family } from './support/family.js'
import { Ledger } from './support/ledger.js'

/** Layers are put together soon. */
const the = useDaemon({ DELTABOX_MERGE_DEPTH: '4' })

const own = (family: Family): string[] => cgroupsOf(`spare-${family.firstUid}-`)

/** So many stand, and all of what was wanted. */
async function expectStanding(family: Family, count: number): Promise<void> {
  await expect.poll(() => family.spares().length, { timeout: 10_000 }).toBe(count)
}

/** As many processes as its limit lets it have, beside those that are there. */
async function roomIn(box: Sandbox): Promise<string> {
  const script = `
import os, signal
made = []
try:
    while True:
        pid = os.fork()
        if pid == 0:
            signal.pause()
        made.append(pid)
except BlockingIOError:
    print(len(made))
for pid in made:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
`
  return (await box.commands.run(['python3', '-c', script])).stdout.trim()
}

it('do not count among the processes of the sandbox in whose cgroup they are', async () => {
  const box = await Sandbox.create({ client: the.client, pids: 24 })
  const ledger = await Ledger.start(box, 0)
  const family = new Family(the.daemon, box.id)
  const room = await roomIn(box)
  const { processes } = await box.stats()
  let taken = await box.checkpoint()
  for (let round = 0; round < 3; round++) {
    await expectStanding(family, taken.processes * (round + 1))
    expect(await roomIn(box)).toBe(room)
    expect((await box.stats()).processes).toBe(processes)
    const told = await ledger.tell()
    expect((await box.rollback(taken)).timings.fork).toBe(0)
    expect(await ledger.tell()).toBe(told)
    await ledger.add()
    const next = await box.checkpoint()
    expect(next.processes).toBe(taken.processes)
    taken = next
  }
  expect(Number(room)).toBeGreaterThan(10)
  await box.kill({ checkpoints: true })
})

it('end with their checkpoint, with their sandbox, and when they are killed', async () => {
  const box = await Sandbox.create({ client: the.client })
  const ledger = await Ledger.start(box, 0)
  const family = new Family(the.daemon, box.id)
  const first = await box.checkpoint()
  const [kid] = await first.fork(1)
  // One for a rollback, one for the next fork.
  await expectStanding(family, 2 * first.processes)
  expect(own(family).length).toBeGreaterThan(0)
  await ledger.add()
  const second = await box.checkpoint()
  await expectStanding(family, 3 * second.processes)
  await first.delete()
  await expectStanding(family, second.processes)
  const [standing] = family.spares()
  process.kill(standing?.pid ?? 0, 'SIGKILL')
  await ledger.add()
  await box.rollback(second)
  expect(await ledger.tell()).toBe('1')
  await expectStanding(family, second.processes)
  await box.kill()
  await expectStanding(family, 0)
  expect(cgroupsOf(box.id)).toEqual([])
  const copy = await ledger.in(kid as Sandbox)
  expect(await copy.tell()).toBe('0')
  await kid?.kill({ checkpoints: true })
  await second.delete()
  await expect.poll(() => own(family)).toEqual([])
})

it('are watched from their birth, so that what they write is known at the next checkpoint', async () => {
  const box = await Sandbox.create({ client: the.client })
  const ledger = await Ledger.start(box, 0)
  const family = new Family(the.daemon, box.id)
  const first = await box.checkpoint()
  await expectStanding(family, first.processes)
  for (const { pid } of family.spares()) {
    expect(readFileSync(`/proc/${pid}/smaps`, 'utf8')).toMatch(/^VmFlags:.* uw/m)
  }
  expect((await box.rollback(first)).timings.fork).toBe(0)
  await ledger.add()
  const told = await ledger.tell()
  const second = await box.checkpoint()
  expect(second.memoryBytes).toBeLessThan(first.memoryBytes / 4)
  await ledger.add()
  await box.rollback(second)
  expect(await ledger.tell()).toBe(told)
  await box.kill({ checkpoints: true })
})

/** Of each 2 MB that it wants large pages for it has two small ones. */
const SPARSE = `
import mmap, sys
memory = mmap.mmap(-1, 16 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for at in range(0, 16 << 20, 1 << 20):
    memory[at] = 1
memory.madvise(mmap.MADV_HUGEPAGE)
print('ready', flush=True)
sys.stdin.read()
`

it('that were only looked at have not changed, also where their template has large pages', async () => {
  const box = await Sandbox.create({ client: the.client })
  const family = new Family(the.daemon, box.id)
  const command = await box.commands.start(['python3', '-c', SPARSE], { stdin: true })
  await linesOf(command).next()
  const checkpoint = await box.checkpoint()
  await expectStanding(family, checkpoint.processes)
  expect((await box.rollback(checkpoint)).timings.fork).toBe(0)
  const next = await box.checkpoint()
  expect(next.memoryBytes).toBeLessThan(2 ** 20)
  await box.kill({ checkpoints: true })
})

it('are as many as were forked, and leave nothing when the engine is killed', async () => {
  const box = await Sandbox.create({ client: the.client })
  const ledger = await Ledger.start(box, 0)
  const family = new Family(the.daemon, box.id)
  await ledger.add()
  const checkpoint = await box.checkpoint()
  for (let round = 0; round < 2; round++) {
    const kids = await checkpoint.fork(5)
    for (const kid of kids) expect(await (await ledger.in(kid)).tell()).toBe('1')
    for (const kid of kids) await kid.kill()
    await expectStanding(family, 6 * checkpoint.processes)
  }
  expect(own(family).length).toBeGreaterThan(0)
  process.kill(family.engine, 'SIGKILL')
  await expect.poll(() => family.members(), { timeout: 10_000 }).toEqual([])
  await expect.poll(() => own(family), { timeout: 10_000 }).toEqual([])
  await box.kill({ checkpoints: true })
})

describe('the files under them', () => {
  interface State {
    readonly at: Checkpoint
    readonly told: string
  }

  /** A state in which the file says so. */
  async function state(box: Sandbox, ledger: Ledger, text: string): Promise<State> {
    await box.files.write('/srv/file', text)
    await box.files.remove('/srv/only-here').catch(() => undefined)
    const told = await ledger.add()
    return { at: await box.checkpoint(text), told }
  }

  async function expectAt(box: Sandbox, ledger: Ledger, text: string, told: string): Promise<void> {
    expect((await box.files.read('/srv/file')).toString()).toBe(text)
    expect(await ledger.tell()).toBe(told)
    await box.files.write('/srv/file', 'of nobody')
    await box.files.write('/srv/only-here', '')
  }

  async function back(box: Sandbox, { at, told }: State, ledger: Ledger): Promise<Record<string, number>> {
    const { timings } = await box.rollback(at)
    expect(await box.files.exists('/srv/only-here')).toBe(false)
    await expectAt(box, ledger, at.label ?? '', told)
    return timings
  }

  /** Until they are put up in time. */
  async function expectReady(box: Sandbox, state: State, ledger: Ledger): Promise<void> {
    await expect.poll(async () => (await back(box, state, ledger)).overlay).toBe(0)
  }

  async function ready(): Promise<{ box: Sandbox; ledger: Ledger; first: State }> {
    const box = await Sandbox.create({ client: the.client })
    const ledger = await Ledger.start(box, 0)
    const first = await state(box, ledger, 'first')
    await expectReady(box, first, ledger)
    return { box, ledger, first }
  }

  it('are put up too, and become the sandbox’s own', async () => {
    const workspace = path.join(the.daemon.directory, 'workspace')
    mkdirSync(workspace)
    writeFileSync(path.join(workspace, 'file'), 'of the host')
    const box = await Sandbox.create({ client: the.client, workspace })
    const ledger = await Ledger.start(box, 0)
    const first = await state(box, ledger, 'first')
    const second = await state(box, ledger, 'second')
    for (let round = 0; round < 3; round++) {
      await expectReady(box, first, ledger)
      await expectReady(box, second, ledger)
    }
    // What was written above them is kept by the next checkpoint, and no one else's.
    const third = await state(box, ledger, 'third')
    await expectReady(box, first, ledger)
    await expectReady(box, third, ledger)
    await box.files.write(path.join(workspace, 'file'), 'fourth')
    const fourth = await state(box, ledger, 'fourth')
    await expectReady(box, third, ledger)
    expect((await box.files.read(path.join(workspace, 'file'))).toString()).toBe('of the host')
    await expectReady(box, fourth, ledger)
    expect((await box.files.read(path.join(workspace, 'file'))).toString()).toBe('fourth')
    const kids = await third.at.fork(3)
    for (const kid of kids) await expectAt(kid, await ledger.in(kid), 'third', third.told)
    for (const kid of kids) {
      expect((await kid.commands.run(['hostname'])).stdout.trim()).toBe(
        (await kid.commands.run(['cat', '/etc/hostname'])).stdout.trim(),
      )
      await kid.kill()
    }
    await box.kill({ checkpoints: true })
  })

  it('are others once their layers have been put together', async () => {
    const box = await Sandbox.create({ client: the.client })
    const ledger = await Ledger.start(box, 0)
    const family = new Family(the.daemon, box.id)
    const states: State[] = []
    let others = 0
    for (let i = 0; i < 12; i++) {
      const last = await state(box, ledger, `${i}`)
      states.push(last)
      await expectReady(box, last, ledger)
      await expectStanding(family, last.at.processes * Math.min(8, states.length))
      for (const one of states.slice(-6)) {
        const { fork = 1, overlay = 0 } = await back(box, one, ledger)
        if (fork === 0 && overlay > 0) others += 1
      }
    }
    expect(others).toBeGreaterThan(0)
    for (const one of [...states].reverse()) await expectReady(box, one, ledger)
    await box.kill({ checkpoints: true })
  })

  it('wait until they are wanted where files have several names, whose content each head has a copy of', async () => {
    const box = await Sandbox.create({ client: the.client })
    const ledger = await Ledger.start(box, 0)
    await box.commands.run('head -c 4M /dev/urandom > /srv/one; ln /srv/one /srv/two')
    const sum = async (): Promise<string> =>
      (await box.commands.run(['md5sum', '/srv/one', '/srv/two'])).stdout
    const first = await state(box, ledger, 'first')
    const before = await sum()
    for (let round = 0; round < 3; round++) {
      await expect.poll(async () => (await back(box, first, ledger)).fork).toBe(0)
      expect((await back(box, first, ledger)).overlay).toBeGreaterThan(0)
      expect(await sum()).toBe(before)
      expect((await box.commands.run(['stat', '-c', '%h', '/srv/one'])).stdout.trim()).toBe('2')
    }
    const { stdout } = spawnSync(
      'du',
      ['-sm', path.join(new Family(the.daemon, box.id).directory, 'stock')],
      { encoding: 'utf8' },
    )
    expect(Number.parseInt(stdout, 10)).toBeLessThan(2)
    await box.kill({ checkpoints: true })
  })

  it('are put up when they are wanted where what was ready is gone', async () => {
    const { box, ledger, first } = await ready()
    const stock = path.join(new Family(the.daemon, box.id).directory, 'stock')
    await expect.poll(() => readdirSync(stock).length).toBeGreaterThan(2)
    for (const name of readdirSync(stock)) rmSync(path.join(stock, name), { recursive: true })
    for (let round = 0; round < 12; round++) {
      await box.rollback(first.at)
      await expectAt(box, ledger, 'first', first.told)
      await box.checkpoint()
    }
    await expectReady(box, first, ledger)
    await box.kill({ checkpoints: true })
  })

  it('outlive the daemon, and go with the family', async () => {
    const { box, ledger, first } = await ready()
    const { directory } = new Family(the.daemon, box.id)
    await the.daemon.kill()
    await the.daemon.start()
    for (let round = 0; round < 3; round++) {
      await box.rollback(first.at)
      await expectAt(box, ledger, 'first', first.told)
    }
    await expectReady(box, first, ledger)
    await box.kill({ checkpoints: true })
    await expect.poll(() => existsSync(directory)).toBe(false)
  })
})
