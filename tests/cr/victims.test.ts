/** Programs that check themselves after rollbacks and in forks: one for each thing that comes back. */
import { readdirSync } from 'node:fs'
import { Client, Sandbox } from 'deltabox'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TestDaemon } from '../e2e/support/daemon.js'
import { Victim } from './support/victim.js'

const ROUNDS = 20
const victims = readdirSync(new URL('victims/', import.meta.url)).sort()

let daemon: TestDaemon
let client: Client

beforeAll(async () => {
  daemon = await TestDaemon.start()
  client = new Client({ url: daemon.url })
})

afterAll(async () => {
  await daemon.clean()
})

describe.each(victims)('%s', (file) => {
  it('is as it was after rollbacks', async () => {
    const box = await Sandbox.create({ client })
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
    const box = await Sandbox.create({ client })
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

  it(`is as it was through ${ROUNDS} rounds`, async () => {
    const box = await Sandbox.create({ client })
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
