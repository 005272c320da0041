/** Programs that check themselves on another host: their checkpoints are exported from one daemon and imported by another. */
import { readdirSync } from 'node:fs'
import { Readable } from 'node:stream'
import { type Checkpoint, Sandbox } from 'deltabox'
import { describe, expect, it } from 'vitest'
import { useDaemon } from '../e2e/support/use-daemon.js'
import { Victim } from './support/victim.js'

const here = useDaemon()
const there = useDaemon()
const victims = readdirSync(new URL('victims/', import.meta.url)).sort()

async function carry(checkpoint: Checkpoint): Promise<Checkpoint> {
  const content = Buffer.concat(await (await checkpoint.export()).toArray())
  const { checkpoint: arrived, warnings } = await Sandbox.import(Readable.from([content]), {
    client: there.client,
  })
  expect(warnings).toEqual([])
  expect(arrived).toMatchObject({ id: checkpoint.id, processes: checkpoint.processes, lost: 0 })
  return arrived
}

describe.each(victims)('%s', (file) => {
  it('is as it was elsewhere, in forks and after a rollback there', async () => {
    const box = await Sandbox.create({ client: here.client })
    const victim = await Victim.start(box, file)
    const first = await box.checkpoint('first')
    await victim.change()
    await box.rollback(first)
    const second = await box.checkpoint('second')
    await box.kill()
    const arrived = await carry(second)
    const [kid, other] = await arrived.fork(2)
    if (!kid || !other) throw new Error('two were wanted')
    const copy = await victim.in(kid)
    await copy.verify()
    await copy.change()
    await (await victim.in(other)).verify()
    await kid.rollback(first.id)
    await (await victim.in(kid)).verify()
    for (const one of [kid, other]) await one.kill({ checkpoints: true })
    await second.delete()
    await first.delete()
    await arrived.delete()
    await there.client.json({ method: 'DELETE', path: `/v1/checkpoints/${first.id}` })
  })
})
