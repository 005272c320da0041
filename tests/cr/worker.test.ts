/** An agent's worker over a repository, which an index of it in memory goes with: jumps all over a tree of its states. */
import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Asked, program } from '@deltabox/bench/inside'
import { type Checkpoint, Sandbox } from 'deltabox'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { useDaemon } from '../e2e/support/use-daemon.js'
import { random } from './support/random.js'

/** In earnest: 500. */
const JUMPS = Number(process.env.DELTABOX_TEST_JUMPS ?? 40)
const SEED = Number(process.env.DELTABOX_TEST_SEED ?? 1)
/** What `scripts/fetch-source.sh` has fetched; else the Python modules that this machine has. */
const REPOSITORY = process.env.DELTABOX_TEST_REPOSITORY ?? '/usr/lib/python3'

let workspace: string

beforeAll(async () => {
  workspace = path.join(mkdtempSync(path.join(tmpdir(), 'dbx-worker-')), 'repository')
  cpSync(REPOSITORY, workspace, { recursive: true, dereference: true })
  if (!process.env.DELTABOX_TEST_REPOSITORY)
    execFileSync('find', [workspace, '-type', 'f', '-not', '-name', '*.py', '-delete'])
})

afterAll(async () => {
  rmSync(path.dirname(workspace), { recursive: true, force: true })
})

const the = useDaemon()

interface Node {
  readonly checkpoint: Checkpoint
  readonly told: string
}

it(`is in memory and on disk what it was, after each of ${JUMPS} jumps in a tree`, {
  timeout: 3_600_000,
}, async () => {
  const dice = random(SEED)
  const draw = (limit: number): number => Math.floor(dice() * limit)
  const box = await Sandbox.create({ client: the.client, workspace })
  await box.files.write('/opt/repository.py', readFileSync(program('repository.py')))
  const worker = new Asked(
    await box.commands.start(['python3', '/opt/repository.py', workspace], { stdin: true }),
  )
  const nodes: Node[] = []
  const add = async (): Promise<void> => {
    const told = await worker.ask('tell')
    nodes.push({ checkpoint: await box.checkpoint(), told })
  }
  await add()
  for (let jump = 0; jump < JUMPS; jump++) {
    const at = draw(2) === 0 ? nodes.length - 1 - draw(Math.min(5, nodes.length)) : draw(nodes.length)
    const { checkpoint, told } = nodes[at] as Node
    const where = `seed ${SEED}, jump ${jump}, to ${at}`
    if (draw(8) === 0) {
      const [kid] = await checkpoint.fork(1)
      if (!kid) throw new Error('no kid')
      expect(await (await worker.in(kid)).ask('tell'), where).toBe(told)
      await kid.kill()
    }
    await box.rollback(checkpoint)
    expect(await worker.ask('tell'), where).toBe(told)
    for (let actions = 1 + draw(3); actions > 0; actions--) await worker.ask('act', draw(2 ** 30))
    await add()
    if (nodes.length > 40) await nodes.splice(draw(nodes.length), 1)[0]?.checkpoint.delete()
  }
  await box.kill({ checkpoints: true })
})
