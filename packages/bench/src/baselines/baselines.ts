/** A worker of 50 MB whose state is kept and gone back to by all who can, in turns. */
import { mkdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { mustBe } from '../inside/worker.js'
import { withOwnDaemon } from '../own-daemon.js'
import { compiled, program } from '../programs.js'
import type { Samples } from '../recorder.js'
import { type Bench, inTurns, settle } from '../suite.js'
import { Calls } from './calls.js'
import { Child } from './child.js'
import type { Contender, Contest, Kept, Task } from './contender.js'
import { contenders } from './contenders.js'
import { newPlace } from './place.js'

const MEGABYTES = 50
const ROUNDS = { full: 80, quick: 4 }
const CHECKPOINT =
  'from the call to its return, 60 ms after the worker has changed 2 MB; it is asked afterwards, as it runs on'
const RESTORE =
  'from the call, 60 ms after the worker has changed 2 MB more, until it has answered how many turns it has made, which is verified; the end of what ran is in it'
const NOTHING = 'of the SDK, to a server on the host that does nothing for it, 60 ms after the last'
const NOTHING_ANSWERED = `${NOTHING}; and of a question that it passes on to such a worker, until that has answered`
const KEEP =
  'of the SDK, to a server on the host that has such a worker fork itself, 60 ms after that has changed 2 MB, until the fork has told so'
const BACK_ANSWERED =
  'of the SDK, to a server on the host that kills that fork, 60 ms after it has changed 2 MB more; and of a question, until the worker as it was before has answered, which is verified'

interface Entrant {
  readonly contender: Contender
  readonly contest: Contest
  readonly checkpoint: Samples
  readonly restore: Samples
  /** Where it stands. */
  at: Kept
  /** Who has failed once is in a state that nobody knows. */
  isOut: boolean
}

export async function run(bench: Bench): Promise<void> {
  const place = newPlace('baselines')
  try {
    const workspace = path.join(place, 'workspace')
    mkdirSync(workspace)
    const task = { workspace, program: program('worker.py'), args: [String(MEGABYTES)] }
    await withOwnDaemon(
      async () => await withEntrants(bench, task, (entrants) => measure(bench, place, entrants)),
    )
  } finally {
    await rm(place, { recursive: true, force: true })
  }
}

async function measure(bench: Bench, place: string, entrants: readonly Entrant[]): Promise<void> {
  const library = compiled('fork.c', place, '-shared', '-fPIC')
  const command = ['python3', program('worker.py'), place, String(MEGABYTES), library]
  const bare = new Child(command, place, path.join(place, 'errors'))
  const calls = await Calls.begin(place, command)
  const timer = 'fork() of the same process on the host, until its child, which ends at once, is waited for'
  const forks = samplesOf(bench, 'bare', 'fork', timer)
  try {
    await bare.start()
    await bare.ask('fork')
    for (const entrant of entrants) await warmUp(entrant)
    await inTurns(ROUNDS[bench.size], [
      async () => forks.add(Number(await bare.ask('fork'))),
      nothing(bench, calls),
      fork(bench, calls),
      ...entrants.map((entrant) => () => take(bench, entrant)),
    ])
  } finally {
    await calls.end()
    await bare.kill()
  }
}

function nothing(bench: Bench, calls: Calls): () => Promise<void> {
  const one = samplesOf(bench, 'bare', 'call', NOTHING)
  const answered = samplesOf(bench, 'bare', 'call-answered', NOTHING_ANSWERED)
  return async () => {
    await calls.ask('turn')
    await settle()
    await one.time(() => calls.call())
    await calls.ask('turn')
    await settle()
    await answered.time(async () => {
      await calls.call()
      await calls.ask('turns')
    })
  }
}

/** What is kept is gone back to once, as by all others. */
function fork(bench: Bench, calls: Calls): () => Promise<void> {
  const keep = samplesOf(bench, 'bare', 'keep', KEEP)
  const back = samplesOf(bench, 'bare', 'back-answered', BACK_ANSWERED)
  return async () => {
    const turns = Number(await calls.ask('turn'))
    await settle()
    await keep.time(() => calls.keep())
    await calls.ask('turn')
    await settle()
    await back.time(async () => {
      await calls.back()
      mustBe(Number(await calls.ask('turns')), turns)
    })
  }
}

/** What is run comes from disk when it is run first. */
async function warmUp(entrant: Entrant): Promise<void> {
  const { contest } = entrant
  await contest.act('turn')
  entrant.at = await contest.checkpoint()
  await contest.restore(entrant.at)
  await contest.ask('turns')
}

async function take({ record }: Bench, entrant: Entrant): Promise<void> {
  if (entrant.isOut) return
  try {
    await backAndForth(entrant)
  } catch (error) {
    entrant.isOut = true
    record.skip(`${entrant.contender.name}, from here on`, String(error))
  }
}

async function backAndForth(entrant: Entrant): Promise<void> {
  const { contender, contest, checkpoint, restore } = entrant
  const turns = Number(await contest.act('turn'))
  await settle()
  const state = await checkpoint.time(async () => ({ kept: await contest.checkpoint() }))
  if (!state) throw new Error(checkpoint.series.failures.at(-1))
  mustBe(Number(await contest.ask('turns')), turns)
  await contest.act('turn')
  await settle()
  const expected = contender.bringsMemoryBack ? turns : 0
  const answered = await restore.time(async () => {
    await contest.restore(state.kept)
    mustBe(Number(await contest.ask('turns')), expected)
    return { expected }
  })
  if (!answered) throw new Error(restore.series.failures.at(-1))
  await contest.forget(entrant.at)
  entrant.at = state.kept
}

/** Those who can work here. Nothing is left of them. */
async function withEntrants(
  bench: Bench,
  task: Task,
  use: (entrants: readonly Entrant[]) => Promise<void>,
): Promise<void> {
  const entrants: Entrant[] = []
  try {
    for (const contender of contenders) {
      const entrant = await enter(bench, contender, task)
      if (entrant) entrants.push(entrant)
    }
    await use(entrants)
  } finally {
    const ended = await Promise.allSettled(entrants.map(({ contest }) => contest.end()))
    for (const one of ended) {
      if (one.status === 'rejected') bench.record.note(`What was left could not be ended: ${one.reason}`)
    }
  }
}

async function enter(bench: Bench, contender: Contender, task: Task): Promise<Entrant | undefined> {
  const { name, about, bringsMemoryBack } = contender
  bench.say(name)
  try {
    const contest = await contender.begin(task)
    const { version } = contest
    bench.record.note(`${name}${version === undefined ? '' : ` (${version})`}: ${about}`)
    const timer = bringsMemoryBack ? RESTORE : `${RESTORE}; started anew, it has made none`
    return {
      contender,
      contest,
      checkpoint: samplesOf(bench, name, 'checkpoint', CHECKPOINT),
      restore: samplesOf(bench, name, 'restore-answered', timer),
      at: undefined,
      isOut: false,
    }
  } catch (error) {
    bench.record.skip(name, error instanceof Error ? error.message : String(error))
    return undefined
  }
}

function samplesOf({ record }: Bench, system: string, operation: string, timer: string): Samples {
  return record.samples({ group: 'baselines', system, operation, parameters: {}, unit: 'ms', timer })
}
