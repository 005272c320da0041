/** Checkpoints, rollbacks and forks of several sandboxes at the same time. */
import { type Checkpoint, Sandbox } from 'deltabox'
import { expect, it } from 'vitest'
import { useDaemon } from '../e2e/support/use-daemon.js'
import { Ledger } from './support/ledger.js'

const the = useDaemon()

/** In earnest: 100. */
const ROUNDS = Number(process.env.DELTABOX_TEST_ROUNDS ?? 12)

/** A sandbox, what its ledger tells, and the states it can go back to. */
interface Player {
  readonly box: Sandbox
  readonly ledger: Ledger
  readonly states: { readonly checkpoint: Checkpoint; readonly told: string }[]
}

async function keep({ box, ledger, states }: Player): Promise<void> {
  const told = await ledger.add()
  states.push({ checkpoint: await box.checkpoint(), told })
  expect(await ledger.tell()).toBe(told)
}

async function goBack({ box, ledger, states }: Player, round: number): Promise<void> {
  const state = states[(round * 7) % states.length]
  if (!state) return
  await box.rollback(state.checkpoint)
  expect(await ledger.tell()).toBe(state.told)
}

async function split({ box, ledger }: Player): Promise<void> {
  const told = await ledger.tell()
  const kids = await box.fork(2)
  const copies = await Promise.all(kids.map((kid) => ledger.in(kid)))
  expect(await Promise.all(copies.map((copy) => copy.tell()))).toEqual([told, told])
  const more = await copies[0]?.add()
  expect([more, await copies[1]?.tell(), await ledger.tell()]).toEqual([`${Number(told) + 1}`, told, told])
  await Promise.all(kids.map((kid) => kid.kill()))
}

it(`go well ${ROUNDS} times`, { timeout: 1_200_000 }, async () => {
  const first = await Sandbox.create({ client: the.client })
  const ledger = await Ledger.start(first, 2)
  const kids = await first.fork(2)
  const strangers = await Promise.all([
    Sandbox.create({ client: the.client }),
    Sandbox.create({ client: the.client }),
  ])
  const players: Player[] = [
    { box: first, ledger, states: [] },
    ...(await Promise.all(kids.map(async (box) => ({ box, ledger: await ledger.in(box), states: [] })))),
    ...(await Promise.all(
      strangers.map(async (box) => ({ box, ledger: await Ledger.start(box, 2), states: [] })),
    )),
  ]
  await Promise.all(players.map(keep))
  const deeds = [keep, goBack, split]
  for (let round = 0; round < ROUNDS; round++) {
    await Promise.all(players.map((player, index) => deeds[(round + index) % deeds.length]?.(player, round)))
  }
  for (const { box } of players) await box.kill({ checkpoints: true })
})

it('what is asked of one sandbox at the same time is done in turn', { timeout: 1_200_000 }, async () => {
  const box = await Sandbox.create({ client: the.client })
  const ledger = await Ledger.start(box, 2)
  for (let round = 0; round < ROUNDS; round++) {
    const told = await ledger.add()
    const before = await box.checkpoint()
    const [first, kids, , second] = await Promise.all([
      box.checkpoint(),
      box.fork(2),
      box.rollback(before),
      box.checkpoint(),
    ])
    expect(await ledger.tell()).toBe(told)
    for (const kid of kids) expect(await (await ledger.in(kid)).tell()).toBe(told)
    await ledger.add()
    for (const checkpoint of [first, second]) {
      await box.rollback(checkpoint)
      expect(await ledger.tell()).toBe(told)
    }
    await Promise.all(kids.map((kid) => kid.kill()))
  }
  await box.kill({ checkpoints: true })
})
