/** Checkpoints that are taken while a program is busy in every way, rollbacks to any of them, and forks. */
import { type Client, Sandbox } from 'deltabox'
import { describe, expect, it } from 'vitest'
import { useDaemon } from '../e2e/support/use-daemon.js'
import { Victim } from './support/victim.js'

const ROUNDS = Number(process.env.DELTABOX_TEST_ROUNDS ?? 3)
const CHECKPOINTS = 12

const byDefault = useDaemon()
const ahead = useDaemon({ DELTABOX_COPY_AHEAD: '0' })

describe.each([
  ['by default', byDefault],
  ['with all that can be copied ahead', ahead],
])('%s', (_, used) => {
  it.each([
    ['threads that are busy in every way', '../programs/busy.c'],
    ['processes that make others in every way', '../programs/families.c'],
    ['threads that write to much memory', '../programs/writer.c'],
  ])('nothing is lost, doubled or torn of %s', (_what, program) => expectWhole(used.client, program))
})

async function expectWhole(client: Client, program: string): Promise<void> {
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
