/** A switch that fails, at each of its steps: everything runs on as if nothing had been asked. */
import { mkdirSync, readdirSync, readFileSync, rmdirSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { type EngineClient, EngineError } from '../../../packages/daemon/src/engine/client.js'
import { connectEngine, type Held as EngineHeld, heldBy, mountsOf } from '../support/engine-connection.js'
import { census, hostPidOf, type Member } from './support/census.js'
import { type Scene, useStage } from './support/stage.js'

const stage = useStage()
const { EIO } = os.constants.errno

/** As the engine lists them. */
const steps = [...source('native/src/checkpoint.c').matchAll(/^ {4}\{"([a-z ]+)", \w+, \w+\},$/gm)].map(
  ([, name = '']) => name,
)

function source(name: string): string {
  return readFileSync(fileURLToPath(new URL(`../../../${name}`, import.meta.url)), 'utf8')
}

const everything = source('tests/e2e/live-switch/programs/everything.py')

interface Held {
  readonly processes: readonly Member[]
  readonly inside: readonly string[]
  readonly engine: EngineHeld
}

/** Of the engine too: what it has mounted and open. Of busy programs what they have open changes by itself. */
function holdings(scene: Scene, enginePid: number, quiet: ReadonlySet<number>): Held {
  const processes = census(scene.namespace).filter(({ pid }) => quiet.has(pid))
  return {
    processes,
    inside: mountsOf(processes[0]?.hostPid ?? 0),
    engine: heldBy(enginePid),
  }
}

/** What only a passing moment forbids is asked for again, as the daemon does. */
async function failAt(
  engine: EngineClient,
  sandbox: string,
  head: string,
  step: string,
): Promise<EngineError> {
  for (;;) {
    mkdirSync(head, { mode: 0o700 })
    const parameters = { sandbox, head, image: 'cp-fault', much: 0, fault: step }
    const error = await engine.request('sandbox.checkpoint', parameters).then(
      () => new Error('it was taken'),
      (reason) => reason,
    )
    expect(readdirSync(head), step).toEqual([])
    rmdirSync(head)
    if (!(error instanceof EngineError)) throw error
    if (error.code !== 'unsettled') return error
  }
}

/** How often the busy one has gone round; -1 when it has ended. */
function roundsOf(scene: Scene, pid: number): number {
  const hostPid = hostPidOf(scene.namespace, pid)
  if (hostPid === undefined) return -1
  return readFileSync(`/proc/${hostPid}/root/srv/busy/log`, 'utf8').split('\n').length
}

async function startDetached(
  scene: Scene,
  argv: string[],
): Promise<{ pid: number; end: () => Promise<string[]> }> {
  const { process, pid } = await scene.box.commands.startDetached(argv, { cwd: '/srv' })
  const first = await scene.box.commands.connect(process, { attach: false })
  for await (const piece of first.stdout) {
    expect(String(piece)).toBe('ready\n')
    break
  }
  first.disconnect()
  return {
    pid,
    end: async () => {
      const handle = await scene.box.commands.connect(process, { attach: false })
      await handle.kill('SIGTERM')
      let output = ''
      for (const stream of [handle.stdout, handle.stderr]) for await (const piece of stream) output += piece
      await handle.wait()
      return output.trimEnd().split('\n')
    },
  }
}

it('the steps are known', () => {
  expect(steps.length).toBeGreaterThan(10)
  expect(steps).toEqual(
    expect.arrayContaining(['make layer', 'freeze', 'open again', 'deliver', 'switch roots', 'swap']),
  )
})

it('a step that fails is named, and nothing is different afterwards', async () => {
  const scene = await stage.scene()
  await scene.box.files.write('/opt/everything.py', everything)
  const quiet = await startDetached(scene, ['python3', '/opt/everything.py', 'quiet'])
  const quietOnes = new Set(census(scene.namespace).map(({ pid }) => pid))
  const busy = await startDetached(scene, ['python3', '/opt/everything.py', 'busy'])
  // Where the watched directories are is found out once, and then known.
  const { checkpoint } = await scene.checkpoint()
  // What is being brought to disk is open meanwhile.
  await expect
    .poll(async () => (await stage.daemon.get(`/v1/checkpoints/${checkpoint.id}`)).json.state)
    .toBe('durable')
  await stage.daemon.kill()
  const { engine, pid } = await connectEngine(stage.daemon.runBase)
  const head = path.join(path.dirname(scene.layers.head), 'of-a-fault')
  for (const step of [...steps, ...steps]) {
    const before = holdings(scene, pid, quietOnes)
    const { errno, step: named, message } = await failAt(engine, scene.box.id, head, step)
    expect(message).toContain(step)
    expect([errno, named]).toEqual([EIO, step])
    const done = roundsOf(scene, busy.pid)
    await expect.poll(() => roundsOf(scene, busy.pid), { message: step }).toBeGreaterThan(done + 2)
    await expect.poll(() => holdings(scene, pid, quietOnes), { message: step }).toEqual(before)
  }
  engine.close()
  await stage.daemon.start()
  await scene.checkpoints(2)
  const expected = ['ready', 'all is as it should be']
  expect([await quiet.end(), await busy.end()]).toEqual([expected, expected])
})
