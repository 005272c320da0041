/** What it costs that there are many files of which nothing has changed. */
import type { Sandbox } from 'deltabox'
import { holding } from '../inside/holder.js'
import { withOwnDaemon } from '../own-daemon.js'
import { type Bench, inTurns, type Sdk } from '../suite.js'
import { change, mustSay, type SamplesOf, samplesOf, timeCheckpoint, timeRollback } from './states.js'

const FILES = { quick: [500, 5_000], full: [500, 5_000, 50_000] }
const TREE = `
import os, sys
for i in range(int(sys.argv[1])):
    directory = f"/srv/tree/{i % 500}"
    os.makedirs(directory, exist_ok=True)
    open(f"{directory}/{i}", "w").write("x")
`

export async function run(bench: Bench): Promise<void> {
  await withOwnDaemon(({ Sandbox }) => measure(Sandbox, bench))
}

async function measure(sandboxes: Sdk['Sandbox'], { size, record }: Bench): Promise<void> {
  const boxes: Sandbox[] = []
  const rounds: (() => Promise<void>)[] = []
  for (const files of FILES[size]) {
    const box = await sandboxes.create()
    boxes.push(box)
    rounds.push(await begin(sandboxes, box, files, samplesOf(record, 'tree-size', { files })))
  }
  await inTurns(size === 'full' ? 51 : 7, rounds)
  for (const box of boxes) await box.kill({ checkpoints: true })
}

/** Gives what is done in a round: a checkpoint beyond the tree, and back to the tree. */
async function begin(
  sandboxes: Sdk['Sandbox'],
  box: Sandbox,
  files: number,
  samples: SamplesOf,
): Promise<() => Promise<void>> {
  const { exitCode, stderr } = await box.commands.run(['python3', '-c', TREE, String(files)])
  if (exitCode !== 0) throw new Error(`a tree of ${files} files: ${stderr}`)
  const holder = await holding(box, 3, 'w')
  const says = await change(box)
  const tree = await box.checkpoint()
  return async () => {
    await change(box)
    const taken = await timeCheckpoint(sandboxes, box, samples)
    await change(box)
    if (!(await timeRollback(box, tree, samples('rollback-template')))) return
    await mustSay(box, says)
    await holder.verify()
    await taken?.delete()
  }
}
