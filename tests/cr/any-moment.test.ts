/** Checkpoints that are taken while a program is busy in every way, rollbacks to any of them, and forks. */
import { Client, Sandbox } from 'deltabox'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TestDaemon } from '../e2e/support/daemon.js'
import { Victim } from './support/victim.js'

const ROUNDS = Number(process.env.DELTABOX_TEST_ROUNDS ?? 4)
const CHECKPOINTS = 12

const daemons: TestDaemon[] = []
const clients: Record<string, Client> = {}

beforeAll(async () => {
  for (const [which, env] of Object.entries({ at: {}, ahead: { DELTABOX_COPY_AHEAD: '0' } })) {
    const daemon = await TestDaemon.start(env as Record<string, string>)
    daemons.push(daemon)
    clients[which] = new Client({ url: daemon.url })
  }
})

afterAll(async () => {
  for (const daemon of daemons) await daemon.clean()
})

describe.each([
  ['by default', 'at'],
  ['with all that can be copied ahead', 'ahead'],
])('%s', (_, which) => {
  it.each([
    ['threads that are busy in every way', '../programs/busy.c'],
    ['processes that make others in every way', '../programs/families.c'],
    ['threads that write to much memory', '../programs/writer.c'],
  ])('nothing is lost, doubled or torn of %s', (_what, program) => expectWhole(clients[which], program))
})

async function expectWhole(client: Client | undefined, program: string): Promise<void> {
  if (!client) throw new Error('no client')
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
  for (const kid of await box.fork(2)) {
    await (await victim.in(kid)).verify()
    await kid.kill()
  }
  await box.kill({ checkpoints: true })
}
