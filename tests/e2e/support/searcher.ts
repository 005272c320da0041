/** A program that searches, to be killed: URL, ROOT, FILE. It prints a line for each node, and the tree at its end. */
import { setTimeout as delay } from 'node:timers/promises'
import { mcts, treeSearch } from '@deltabox/search'
import { Client, Sandbox } from 'deltabox'

const [url = '', root = '', file = ''] = process.argv.slice(2)
const client = new Client({ url })

const { tree, report, reason } = await treeSearch<number, string>({
  root: await Sandbox.getCheckpoint(root, { client }),
  client,
  strategy: mcts({ branching: 2, maxDepth: 5 }),
  budget: { expansions: 24 },
  concurrency: 2,
  keep: 'all',
  ...(file && { file }),
  propose: async ({ random }) => {
    const action = random.below(1000)
    await delay(30)
    return action
  },
  act: async (box, action) => {
    const { stdout } = await box.commands.run(
      `echo ${action} >> /root/log; cat /root/log; kill -USR1 $(cat /root/pid)`,
    )
    return stdout
  },
  evaluate: async (box, { observation }) => {
    await box.commands.run('rm /root/log; pkill sleep')
    return Number(observation.trim().split('\n').at(-1)) / 1000
  },
  onEvent: (event) => {
    if (event.type === 'phase') process.stdout.write(`${event.phase} ${event.id}\n`)
  },
})
const nodes = tree.nodes.map(
  ({ id, parent, action, observation, value, status, visits, checkpoint, error }) => {
    return { id, parent, action, observation, value, status, visits, checkpoint, error }
  },
)
process.stdout.write(`${JSON.stringify({ nodes, reason, failures: report.failures })}\n`)
