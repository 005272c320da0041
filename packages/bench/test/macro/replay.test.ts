import { expect, it } from 'vitest'
import type { Contender, Contest } from '../../src/baselines/contender.js'
import { overheadOf, Replay, type ReplaySeries } from '../../src/macro/replay.js'
import type { Trace } from '../../src/macro/trace.js'
import { Samples } from '../../src/recorder.js'

/** A worker whose state is the line of its actions. */
class Fake implements Contest {
  readonly log: string[] = []
  state = ''
  memory = ''

  async ask(line: string): Promise<string> {
    const [question, number] = line.split(' ')
    return `${number} ${question === 'tell' ? `m${this.memory} f${this.state}` : 'done'}`
  }

  async act(line: string): Promise<string> {
    const [, number, seed] = line.split(' ')
    this.log.push(`act ${seed}`)
    this.state += seed
    this.memory += seed
    return `${number} done`
  }

  async checkpoint(): Promise<string> {
    this.log.push('checkpoint')
    return this.state
  }

  async restore(kept: unknown): Promise<void> {
    this.log.push(`restore ${kept}`)
    this.state = kept as string
    this.memory = kept as string
  }

  async forget(kept: unknown): Promise<void> {
    this.log.push(`forget ${kept}`)
  }

  async end(): Promise<void> {
    this.log.push('end')
  }
}

/** 0 -> 1 -> 2, 0 -> 3, 1 -> 4 */
const trace: Trace = {
  root: { memory: 'm', files: 'f' },
  expansions: [
    [1, 0, 'a'],
    [2, 1, 'ab'],
    [3, 0, 'c'],
    [4, 1, 'ad'],
  ].map(([node, parent, state]) => ({
    node: Number(node),
    parent: Number(parent),
    seed: String(state).at(-1) as unknown as number,
    told: { memory: `m${state}`, files: `f${state}` },
  })),
}

function samples(operation: string): Samples {
  return new Samples({
    ...{ group: 'search-replay', system: 'fake', operation, parameters: {} },
    ...{ unit: 'ms', timer: '' },
  })
}

async function begin(
  contest: Fake,
  bringsMemoryBack = true,
): Promise<{ replay: Replay; series: ReplaySeries }> {
  const series = { checkpoint: samples('checkpoint'), restore: samples('restore') }
  const contender: Contender = { name: 'fake', about: '', bringsMemoryBack, begin: async () => contest }
  const task = { workspace: '', program: '', args: [] }
  return { replay: await Replay.begin(contender, task, trace, series), series }
}

async function expandAll(replay: Replay): Promise<void> {
  for (const expansion of trace.expansions) await replay.expand(expansion)
}

it('goes back only where it is not there already, and forgets what nobody goes back to', async () => {
  const contest = new Fake()
  const { replay, series } = await begin(contest)
  await expandAll(replay)
  await replay.end()
  expect(contest.log).toEqual([
    ...['checkpoint', 'act a', 'checkpoint'],
    ...['act b', 'checkpoint', 'forget ab'],
    ...['restore ', 'act c', 'checkpoint', 'forget ', 'forget c'],
    ...['restore a', 'act d', 'checkpoint', 'forget a', 'forget ad'],
    'end',
  ])
  expect(series.checkpoint.series).toMatchObject({ samples: { length: 4 }, failures: [] })
  expect(series.restore.series).toMatchObject({ samples: { length: 2 }, failures: [] })
  expect(replay.spent.expansions).toBe(4)
})

it('a state that is another one is a failure, and nothing is done in it', async () => {
  const contest = new Fake()
  contest.restore = async (kept) => {
    contest.state = `${kept}!`
    contest.memory = kept as string
  }
  const { replay, series } = await begin(contest)
  await expandAll(replay)
  expect(series.restore.series.samples).toEqual([])
  expect(series.restore.series.failures).toEqual([
    'Error: back at node 0 with other files than recorded',
    'Error: back at node 1 with other files than recorded',
  ])
  expect(replay.spent.expansions).toBe(2)
})

it('memory is compared only with who brings it back', async () => {
  for (const bringsMemoryBack of [true, false]) {
    const contest = new Fake()
    contest.restore = async (kept) => {
      contest.state = kept as string
      contest.memory = ''
    }
    const { replay, series } = await begin(contest, bringsMemoryBack)
    await expandAll(replay)
    expect(series.restore.series.failures).toEqual(
      bringsMemoryBack ? ['Error: back at node 1 with other memory than recorded'] : [],
    )
  }
})

it('what stands on a state that could not be kept is passed over', async () => {
  const contest = new Fake()
  const { replay, series } = await begin(contest)
  const keep = contest.checkpoint
  contest.checkpoint = async () => {
    if (contest.state === 'a') throw new Error('no room')
    return await keep.call(contest)
  }
  await expandAll(replay)
  expect(series.checkpoint.series).toMatchObject({ samples: { length: 1 }, failures: ['Error: no room'] })
  expect(contest.log.filter((line) => line.startsWith('act'))).toEqual(['act a', 'act c'])
})

it('one that begins in another state is ended at once', async () => {
  const contest = new Fake()
  contest.state = 'x'
  await expect(begin(contest)).rejects.toThrow('it begins with other files than recorded')
  expect(contest.log).toEqual(['end'])
})

it('the model’s time counts with what is needed, and hides nothing', () => {
  expect(overheadOf({ expansions: 2, actMs: 500, stateMs: 250 }, 1000)).toBe(1.1)
})
