/** Episodes of a few steps, in sandboxes that are made together and go back between them. */
import { Rollouts } from '@deltabox/search'
import type { Sandbox } from 'deltabox'
import type { Samples } from '../recorder.js'
import { type Bench, settle } from '../suite.js'
import {
  type Acted,
  type Environment,
  MEGABYTES,
  mustBeStep,
  SETTLED_AFTER_MS,
  type World,
} from './environments.js'

const STEPS = 5
const AT_A_TIME = 8

interface Series {
  readonly opened: Samples
  readonly episodes: Samples
  readonly rollbacks: Samples
  readonly steps: Samples
}

/** All are forked anew for each round, and played in twice: the second time in what has gone back. */
export async function played(world: World, bench: Bench, children: number, rounds: number): Promise<void> {
  const series = seriesOf(bench, children)
  for (let round = 0; round < rounds; round++) {
    await settle(SETTLED_AFTER_MS)
    const rollouts = await series.opened.time(() => open(world, children, series.steps))
    if (!rollouts) continue
    try {
      for (let time = 0; time < 2; time++) {
        await series.episodes.time(() => playOnce(rollouts, children, series.rollbacks))
      }
    } finally {
      await rollouts.close()
    }
  }
}

/** Pages are actions. */
async function open(world: World, size: number, steps: Samples): Promise<Rollouts<number, Acted>> {
  const environments = new WeakMap<Sandbox, Environment>()
  const inside = async (box: Sandbox): Promise<Environment> => {
    const known = environments.get(box) ?? (await world.in(box))
    environments.set(box, known)
    return known
  }
  return await Rollouts.from<number, Acted>(world.checkpoint, {
    size,
    concurrency: AT_A_TIME,
    retries: 0,
    reset: async (box) => {
      await inside(box)
      return { steps: 0, files: 0, namespace: '' }
    },
    step: async (box, page) => {
      const environment = await inside(box)
      const started = performance.now()
      const observation = await environment.act(page)
      steps.add(performance.now() - started)
      return { observation, reward: 0, done: observation.steps === STEPS }
    },
  })
}

async function playOnce(
  rollouts: Rollouts<number, Acted>,
  episodes: number,
  rollbacks: Samples,
): Promise<void> {
  const policy = async (_: Acted, { episode, step }: { episode: number; step: number }): Promise<number> =>
    episode * STEPS + step
  for await (const { steps, error, times } of rollouts.run(policy, { episodes, maxSteps: STEPS })) {
    if (error !== undefined) throw error
    for (const [index, { step }] of steps.entries()) mustBeStep(step.observation, index + 1)
    if (times.rollbackMs > 0) rollbacks.add(times.rollbackMs)
  }
}

function seriesOf({ record }: Bench, children: number): Series {
  const series = (operation: string, timer: string): Samples =>
    record.samples({
      group: 'rollouts',
      system: 'deltabox',
      ...{ operation, parameters: { children }, unit: 'ms', timer },
    })
  return {
    opened: series('rollouts-open', `of a worker with ${MEGABYTES} MiB: until all sandboxes are there`),
    episodes: series(
      'rollouts-episodes',
      `an episode of ${STEPS} steps in each sandbox, ${AT_A_TIME} at a time, with a policy that takes no time; every step is verified`,
    ),
    rollbacks: series(
      'rollouts-rollback',
      `until a sandbox has gone back for its next episode, beside what others do`,
    ),
    steps: series(
      'rollouts-step',
      'a page is changed and a file written: from the question to the answer, beside what others do',
    ),
  }
}
