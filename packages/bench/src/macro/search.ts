/**
 * A search over a repository as agents do it: a worker holds an index of all of it in memory and acts, a model takes a second for
 * each answer. Then others do what it has done.
 */
import { contenders } from '../baselines/contenders.js'
import { withOwnDaemon } from '../own-daemon.js'
import type { Size } from '../results.js'
import type { Bench } from '../suite.js'
import { replay } from './replays.js'
import { repositories, withCopy } from './repositories.js'
import { type Plan, search } from './searched.js'

const PLANS: Readonly<Record<Size, Plan & { readonly allowanceMs: number }>> = {
  full: { expansions: 30, waitMs: 1000, allowanceMs: 5000 },
  quick: { expansions: 10, waitMs: 200, allowanceMs: 2500 },
}

export async function run(bench: Bench): Promise<void> {
  const plan = PLANS[bench.size]
  await withOwnDaemon(async (sdk) => {
    for (const repository of repositories(bench)) {
      const { name } = repository
      await withCopy(repository, async (workspace) => {
        bench.say(`${name}: the search`)
        const trace = await search(sdk, bench, plan, name, workspace)
        await replay(contenders, { repository: name, workspace, trace, allowanceMs: plan.allowanceMs }, bench)
      })
    }
  })
}
