/** What comes from disk stands on memory that is nobody's: whatever a sandbox makes its own of it counts towards its limit. */

import { Asked } from '@deltabox/bench/inside'
import { type Checkpoint, Sandbox } from 'deltabox'
import { expect, it } from 'vitest'
import { useDaemon } from '../e2e/support/use-daemon.js'
import { Family } from './support/family.js'

const the = useDaemon({ DELTABOX_POOL_BYTES: '0' })

const MEGABYTE = 1 << 20
const HOARD = 40 * MEGABYTE

/** Writes to all that it has, or makes it larger. */
const program = `
import sys
hoard = [bytearray(${HOARD})]
for line in sys.stdin:
    what, number = line.split()
    if what == "more": hoard.append(bytearray(${HOARD}))
    for one in hoard:
        for at in range(0, len(one), 4096): one[at] = (one[at] + 1) % 256
    print(number, len(hoard), hoard[0][0], flush=True)
`

async function untilOut({ id }: Checkpoint): Promise<void> {
  const look = (): Promise<Checkpoint> => Sandbox.getCheckpoint(id, { client: the.client })
  await expect.poll(async () => (await look()).inMemory).toBe(false)
}

const bytesOf = async (box: Sandbox): Promise<number> => (await box.stats()).memoryBytes ?? 0

it('holds for processes that come from disk, each for itself', async () => {
  const box = await Sandbox.create({ client: the.client, memory: '64m' })
  const command = await box.commands.start(['python3', '-c', program], { stdin: true })
  const worker = new Asked(command)
  expect(await worker.ask('write')).toBe('1 1')
  const first = await box.checkpoint()
  expect(await worker.ask('write')).toBe('1 2')
  const second = await box.checkpoint()
  for (const [checkpoint, told] of [
    [first, '1 2'],
    [second, '1 3'],
    [first, '1 2'],
    [second, '1 3'],
  ] as const) {
    await untilOut(checkpoint)
    expect((await box.rollback(checkpoint)).source).toBe('image')
    expect(await worker.ask('write')).toBe(told)
    expect(await bytesOf(box)).toBeGreaterThan(HOARD)
  }
  await untilOut(first)
  const kids = await first.fork(4)
  for (const kid of kids) {
    expect(await bytesOf(kid)).toBeLessThan(HOARD / 2)
    expect(await (await worker.in(kid)).ask('write')).toBe('1 2')
    expect(await bytesOf(kid)).toBeGreaterThan(HOARD)
  }
  const family = new Family(the.daemon, box.id)
  const templates = family.templates().map(({ pid }) => pid)
  const [greedy, ...others] = kids as [Sandbox, ...Sandbox[]]
  await expect((await worker.in(greedy)).ask('more')).rejects.toThrow('ended')
  const end = await (await greedy.commands.connect(command.process)).wait()
  expect(end).toMatchObject({ signal: 'SIGKILL', oomKilled: true })
  expect(family.templates().map(({ pid }) => pid)).toEqual(templates)
  for (const one of others) expect(await (await worker.in(one)).ask('write')).toBe('1 3')
  for (const one of [box, ...others]) expect((await one.stats()).oomKills).toBe(0)
  await greedy.rollback(first)
  expect(await (await worker.in(greedy)).ask('write')).toBe('1 2')
  for (const one of [...kids, box]) await one.kill({ checkpoints: true })
})
