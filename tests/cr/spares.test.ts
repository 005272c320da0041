/** Processes of checkpoints that stand ready in cells made ahead of need: nobody sees them, nothing is left of them. */
import { Sandbox } from 'deltabox'
import { expect, it } from 'vitest'
import { useDaemon } from '../e2e/support/use-daemon.js'
import { cgroupsOf, Family } from './support/family.js'
import { Ledger } from './support/ledger.js'

const the = useDaemon()

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
