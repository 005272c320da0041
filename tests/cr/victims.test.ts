/** Programs that check themselves after rollbacks and in forks: one for each thing that comes back. */
import { readdirSync } from 'node:fs'
import { Sandbox, type SandboxInfo } from 'deltabox'
import { describe, expect, it } from 'vitest'
import { useDaemon } from '../e2e/support/use-daemon.js'
import { Victim } from './support/victim.js'

const the = useDaemon()

const ROUNDS = 20
const victims = readdirSync(new URL('victims/', import.meta.url)).sort()

type Timings = Readonly<Record<string, number>>

/** Nothing was forked: the processes had stood in a cell already. */
function stoodReady({ fork }: Timings): boolean {
  return fork === 0
}

function forked(checkpoint: string, count: number): Promise<{ sandboxes: SandboxInfo[]; timings: Timings }> {
  return the.client.json({ method: 'POST', path: `/v1/checkpoints/${checkpoint}/fork`, json: { count } })
}

/** Engines make ready what they have time for. */
async function expectSoon(attempt: () => Promise<boolean>): Promise<void> {
  await expect.poll(attempt, { interval: 20, timeout: 10_000 }).toBe(true)
}

describe.each(victims)('%s', (file) => {
  it('is as it was after rollbacks', async () => {
    const box = await Sandbox.create({ client: the.client })
    const victim = await Victim.start(box, file)
    await victim.verify()
    const checkpoint = await box.checkpoint()
    for (let round = 0; round < 3; round++) {
      await victim.change()
      expect((await box.rollback(checkpoint)).source).toBe('template')
      await victim.verify()
    }
    await box.kill({ checkpoints: true })
  })

  it('is as it was in forks, each for itself', async () => {
    const box = await Sandbox.create({ client: the.client })
    const victim = await Victim.start(box, file)
    const checkpoint = await box.checkpoint()
    await victim.change()
    const kids = await checkpoint.fork(3)
    const copies = await Promise.all(kids.map((kid) => victim.in(kid)))
    for (const copy of copies) await copy.verify()
    await copies[0]?.change()
    await copies[1]?.verify()
    await copies[2]?.verify()
    for (const kid of [...kids, box]) await kid.kill({ checkpoints: true })
  })

  it('is as it was when it had stood ready', async () => {
    const box = await Sandbox.create({ client: the.client })
    const victim = await Victim.start(box, file)
    const checkpoint = await box.checkpoint()
    await box.rollback(checkpoint)
    await expectSoon(async () => {
      await victim.change()
      const { timings } = await box.rollback(checkpoint)
      await victim.verify()
      return stoodReady(timings)
    })
    await expectSoon(async () => {
      const { sandboxes, timings } = await forked(checkpoint.id, 2)
      for (const { id } of sandboxes) {
        const kid = await Sandbox.connect(id, { client: the.client })
        const copy = await victim.in(kid)
        await copy.verify()
        await copy.change()
        await kid.kill()
      }
      return stoodReady(timings)
    })
    await box.kill({ checkpoints: true })
  })

  it(`is as it was through ${ROUNDS} rounds`, async () => {
    const box = await Sandbox.create({ client: the.client })
    const victim = await Victim.start(box, file)
    for (let round = 0; round < ROUNDS; round++) {
      const checkpoint = await box.checkpoint()
      await victim.verify()
      if (round % 2 === 1) await victim.change()
      await box.rollback(checkpoint)
    }
    await victim.verify()
    await box.kill({ checkpoints: true })
  })
})
