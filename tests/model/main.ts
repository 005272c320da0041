/** The long form of the model test: `npm run model -- --help`. */
import { readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { minimise } from './minimise.js'
import { type Outcome, runOperations, runSeed, VARIANTS, withDaemon } from './run.js'
import type { Where } from './world.js'

const HELP = `Runs random file operations, checkpoints, rollbacks and forks in a sandbox and beside it on plain directories.

  --seed N      the first seed (default: of the clock)
  --runs N      how many seeds (default: 20)
  --steps N     operations of each (default: 1000)
  --chains KIND short (layers are put together often), long or both (default)
  --replay FILE the operations written by a run that failed, instead of seeds
  --minimise    make the first failing sequence short; takes minutes
  --out FILE    where a failing sequence is written (default: deltabox-model.json in the temporary directory)
`

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    runs: { type: 'string', default: '20' },
    steps: { type: 'string', default: '1000' },
    replay: { type: 'string' },
    chains: { type: 'string', default: 'both' },
    minimise: { type: 'boolean', default: false },
    out: { type: 'string', default: join(tmpdir(), 'deltabox-model.json') },
    help: { type: 'boolean', default: false },
  },
})

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

async function* outcomes(where: Where): AsyncGenerator<[what: string, outcome: Outcome]> {
  if (values.replay !== undefined) {
    yield [values.replay, await runOperations(where, JSON.parse(readFileSync(values.replay, 'utf8')))]
    return
  }
  const first = Number(values.seed)
  for (let seed = first; seed < first + Number(values.runs); seed++) {
    yield [`seed ${seed}`, await runSeed(where, seed, Number(values.steps))]
  }
}

/** What makes two failures the same: the words, without what is another one each time. */
function kindOf({ failure }: Outcome): string | undefined {
  return failure?.message.replaceAll(/sb-\w+|dbm-\w+|\d+/g, '').slice(0, 60)
}

async function shorten(where: Where, outcome: Outcome): Promise<void> {
  let shortest = outcome
  await minimise(outcome.operations, async (operations) => {
    const tried = await runOperations(where, operations)
    if (kindOf(tried) !== kindOf(outcome)) return false
    shortest = tried
    write(tried)
    process.stderr.write(`${tried.operations.length} `)
    return true
  })
  say(`\n${shortest.operations.map((operation) => JSON.stringify(operation)).join('\n')}`)
  say(shortest.failure?.message ?? '')
}

function write({ operations }: Outcome): void {
  writeFileSync(values.out, `${JSON.stringify(operations, undefined, 1)}\n`)
}

async function run(where: Where): Promise<void> {
  for await (const [what, outcome] of outcomes(where)) {
    const { counts, failure } = outcome
    const told = Object.entries(counts).map(([name, count]) => `${count} ${name}`)
    say(`${what}: ${told.join(', ')}${failure ? '; failed' : ''}`)
    if (!failure) continue
    process.exitCode = 1
    say(`${JSON.stringify(outcome.operations.at(-1))}\n${failure.message}`)
    write(outcome)
    if (!values.minimise) continue
    await shorten(where, outcome)
    return
  }
}

if (values.help) {
  say(HELP)
} else {
  for (const variant of VARIANTS.filter(({ name }) => [name, 'both'].includes(values.chains))) {
    say(variant.title)
    await withDaemon(variant, run)
  }
}
