/** Never half: processes are killed at any moment of a checkpoint, a rollback or a fork. */
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { type Checkpoint, DeltaBoxError, Sandbox } from 'deltabox'
import { afterEach, describe, expect, it } from 'vitest'
import { useDaemon } from '../e2e/support/use-daemon.js'
import { cgroupsOf, Family, type Relative } from './support/family.js'
import { Ledger } from './support/ledger.js'
import { random } from './support/random.js'

const the = useDaemon()

const ROUNDS = Number(process.env.DELTABOX_TEST_ROUNDS ?? 3)
const LONGEST_MS = 40

afterEach(async () => {
  const all = await Sandbox.list({ client: the.client })
  for (const { id } of all)
    await (await Sandbox.connect(id, { client: the.client })).kill({ checkpoints: true })
  expect(all.flatMap(({ id }) => cgroupsOf(id))).toEqual([])
})

interface Scene {
  readonly box: Sandbox
  readonly ledger: Ledger
  readonly family: Family
}

async function makeScene(): Promise<Scene> {
  const box = await Sandbox.create({ client: the.client })
  const ledger = await Ledger.start(box)
  return { box, ledger, family: new Family(the.daemon, box.id) }
}

/** What is asked of a sandbox that has a checkpoint, and has gone on since. */
const DEEDS: Record<string, (box: Sandbox, checkpoint: Checkpoint) => Promise<unknown>> = {
  checkpoint: (box) => box.checkpoint(),
  rollback: (box, checkpoint) => box.rollback(checkpoint),
  'fork of a checkpoint': (_, checkpoint) => checkpoint.fork(2),
  'fork of a sandbox': (box) => box.fork(2),
}

const draw = random(7)

function one<T>(list: readonly T[]): T | undefined {
  return list[Math.floor(draw() * list.length)]
}

/** Kills what `choose` finds, sooner or later, while the work is under way. */
async function killDuring<T>(work: Promise<T>, choose: () => Relative | undefined): Promise<T | Error> {
  const settled = work.catch((error: Error) => error)
  await delay(draw() * LONGEST_MS)
  const victim = choose()
  if (victim) kill(victim.pid)
  return await settled
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

describe.each(Object.keys(DEEDS))('%s', { timeout: 600_000 }, (name) => {
  const deed = DEEDS[name] ?? (() => Promise.reject(new Error(name)))

  it('leaves no process when the engine is killed, and no mount', async () => {
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    for (let round = 0; round < ROUNDS; round++) {
      const { box, ledger, family } = await makeScene()
      const checkpoint = await box.checkpoint()
      await ledger.add()
      const engine = family.members().find(({ parent }) => parent === family.engine)
      expect(engine).toBeDefined()
      const result = await killDuring(
        deed(box, checkpoint),
        () => engine && { ...engine, pid: family.engine },
      )
      if (result instanceof Error)
        expect(result).toMatchObject({ code: expect.stringMatching(/^engine_lost|_failed$/) })
      await expect.poll(() => family.members(), { timeout: 10_000 }).toEqual([])
      await expect.poll(() => stateOf(box)).toBe('dead')
      await box.kill({ checkpoints: true })
    }
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).toBe(mounts)
  })

  it('goes well, or leaves the sandbox alone, when processes of the sandbox are killed', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const { box, ledger, family } = await makeScene()
      await ledger.add()
      const checkpoint = await box.checkpoint()
      await ledger.add()
      const server = Math.min(...inside(family).map(({ inner }) => inner)) + 1
      const spare = (): Relative | undefined => one(inside(family).filter(({ inner }) => inner > server))
      await expectWholeAfter(
        name,
        await killDuring(deed(box, checkpoint), spare),
        { box, ledger, family },
        checkpoint,
      )
      await box.kill({ checkpoints: true })
    }
  })

  it('goes well, or leaves the sandbox alone, when templates and what is made of them are killed', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const { box, ledger, family } = await makeScene()
      await ledger.add()
      const checkpoint = await box.checkpoint()
      await ledger.add()
      const live = new Set(inside(family).map(({ pid }) => pid))
      const template = (): Relative | undefined => one(family.standing(live))
      await expectWholeAfter(
        name,
        await killDuring(deed(box, checkpoint), template),
        { box, ledger, family },
        checkpoint,
      )
      await box.kill({ checkpoints: true })
    }
  })
})

async function stateOf(box: Sandbox): Promise<string | undefined> {
  return (await Sandbox.list({ client: the.client })).find(({ id }) => id === box.id)?.state
}

/** Of the one sandbox there is, but for its first process. */
function inside(family: Family): Relative[] {
  const members = family.members()
  const ledger = members.find(({ command, tracer }) => command === 'python3' && tracer === 0)
  return members.filter(({ namespace, inner }) => namespace === ledger?.namespace && inner !== 1)
}

/** 1 is what was kept, 2 what is since. */
async function expectWholeAfter(
  name: string,
  result: unknown,
  { box, ledger }: Scene,
  checkpoint: Checkpoint,
): Promise<void> {
  const failed = result instanceof Error
  if (failed) expect(result).toBeInstanceOf(DeltaBoxError)
  const now = await ledger.tell().catch(() => 'it has ended')
  const asKept = name === 'rollback' && !failed
  expect([asKept ? '1' : '2', 'it has ended'], String(result)).toContain(now)
  if (Array.isArray(result)) {
    const told = await Promise.all(
      result.map(async (kid: Sandbox) => await (await ledger.in(kid)).tell().catch(() => 'it has ended')),
    )
    for (const number of told)
      expect([name === 'fork of a sandbox' ? '2' : '1', 'it has ended']).toContain(number)
    for (const kid of result) await kid.kill()
  }
  const again = await box.rollback(checkpoint).catch((error) => error)
  if (again instanceof Error) {
    expect(again.message).toMatch(/its processes (are lost|could not be kept)/)
    expect(await ledger.tell().catch(() => 'it has ended')).toBe(now)
  } else {
    expect(await ledger.tell()).toBe('1')
  }
  await box.checkpoint()
}
