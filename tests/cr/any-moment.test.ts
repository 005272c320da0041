/** Checkpoints that are taken while a program is busy in every way, and rollbacks to any of them. */
import { Client, Sandbox } from 'deltabox'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { TestDaemon } from '../e2e/support/daemon.js'
import { Victim } from './support/victim.js'

const ROUNDS = Number(process.env.DELTABOX_TEST_ROUNDS ?? 4)
const CHECKPOINTS = 12

let daemon: TestDaemon
let client: Client

beforeAll(async () => {
  daemon = await TestDaemon.start()
  client = new Client({ url: daemon.url })
})

afterAll(async () => {
  await daemon.clean()
})

it.each([
  ['threads that are busy in every way', '../programs/busy.c'],
  ['processes that make others in every way', '../programs/families.c'],
])('nothing is lost, doubled or torn of %s', async (_, program) => {
  const box = await Sandbox.create({ client })
  const victim = await Victim.start(box, program)
  for (let round = 0; round < ROUNDS; round++) {
    const checkpoints = []
    for (let i = 0; i < CHECKPOINTS; i++) checkpoints.push(await box.checkpoint())
    await victim.verify()
    const to = checkpoints[(round * 7 + 3) % CHECKPOINTS]
    if (!to) throw new Error('no checkpoint')
    expect((await box.rollback(to)).source).toBe('template')
    await victim.verify()
  }
  await box.kill({ checkpoints: true })
})
