/** Whoever searches is killed, and so is the daemon: nothing that was found is lost. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Client, Sandbox } from 'deltabox'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { TestDaemon } from './support/daemon.js'
import { sh } from './support/use-boxes.js'

const program = fileURLToPath(new URL('support/searcher.ts', import.meta.url))
const tsx = createRequire(import.meta.url).resolve('tsx')
const ROUNDS = Number(process.env.DELTABOX_TEST_KILLS ?? 2)

let directory: string
let daemon: TestDaemon
let client: Client
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'dbx-kills-'))
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))
beforeEach(async () => {
  daemon = await TestDaemon.start()
  client = new Client({ url: daemon.url })
})
afterEach(() => daemon.clean())

interface Found {
  readonly nodes: readonly {
    readonly id: number
    readonly parent: number | null
    readonly action: number | null
    readonly checkpoint: string | null
    readonly observation: string | null
  }[]
  readonly reason: string
  readonly failures: unknown[]
}

interface Searching {
  readonly child: ChildProcess
  /** What it printed last; undefined when it was killed. */
  readonly found: Promise<Found | undefined>
}

function search(root: string, file: string, told: (line: string) => void = () => undefined): Searching {
  const child = spawn(process.execPath, ['--import', tsx, program, daemon.url, root, file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let last = ''
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })
  lines.on('line', (line) => {
    last = line
    told(line)
  })
  const found = once(child, 'close').then(([code]) => (code === 0 ? (JSON.parse(last) as Found) : undefined))
  return { child, found }
}

/** A process that counts signals, in memory and in a file. */
async function root(): Promise<string> {
  const box = await Sandbox.create({ client })
  await box.commands.start(
    'echo $$ > /root/pid; n=0; trap "n=$((n+1)); echo $n > /root/count" USR1; while :; do sleep 1000 & wait; done',
  )
  await expect.poll(() => box.files.exists('/root/pid')).toBe(true)
  const { id } = await box.checkpoint()
  await box.kill()
  return id
}

function shapeOf({ nodes }: Found): unknown {
  return nodes.map(({ checkpoint: _, ...node }) => node)
}

async function verify({ nodes }: Found): Promise<void> {
  for (const { checkpoint, observation, parent } of nodes) {
    if (parent === null) continue
    const [kid] = await (await Sandbox.getCheckpoint(checkpoint ?? '', { client })).fork()
    if (!kid) throw new Error('one was wanted')
    expect(await sh(kid, 'cat /root/log')).toBe(observation)
    await kid.kill()
  }
}

async function expectNothingElse({ nodes }: Found): Promise<void> {
  expect(await Sandbox.list({ client })).toEqual([])
  const known = new Set(nodes.map(({ checkpoint }) => checkpoint))
  const there = JSON.stringify(await Sandbox.tree({ client })).match(/cp-[a-z2-7]{10}/g) ?? []
  expect(there.filter((id) => !known.has(id))).toEqual([])
}

it('goes on after the program and the daemon were killed, each at any moment, and comes to the same', async () => {
  const start = await root()
  const whole = await search(start, '').found
  if (!whole) throw new Error('it did not end')
  expect(whole).toMatchObject({ reason: 'budget', failures: [] })
  for (let round = 0; round < ROUNDS; round++) {
    const file = path.join(directory, `${round}.jsonl`)
    let found: Found | undefined
    let restarted: Promise<void> | undefined
    for (let runs = 0; !found; runs++) {
      const lines = {
        told: 0,
        daemon: 3 + ((round * 5 + runs * 3) % 9),
        program: 9 + ((round * 7 + runs * 5) % 13),
      }
      const searching = search(start, file, () => {
        lines.told += 1
        if (lines.told === lines.daemon) restarted = daemon.kill().then(() => daemon.start())
        if (lines.told === lines.program && runs < 3) searching.child.kill('SIGKILL')
      })
      found = await searching.found
      await restarted
    }
    expect(found.failures).toEqual([])
    expect(shapeOf(found)).toEqual(shapeOf(whole))
    expect(readFileSync(file, 'utf8').match(/"kind":"workers"/g)?.length).toBe(4)
    await verify(found)
    for (const { checkpoint, parent } of found.nodes) {
      if (parent !== null) await (await Sandbox.getCheckpoint(checkpoint ?? '', { client })).delete()
    }
  }
  await expectNothingElse(whole)
})
