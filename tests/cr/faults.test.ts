/** Never half: a step that fails, or a process that is killed, leaves either all as it was or all done. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmdirSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { type EngineClient, EngineError } from '../../packages/daemon/src/engine/client.js'
import { useStage } from '../e2e/live-switch/support/stage.js'
import { connectEngine, heldBy } from '../e2e/support/engine-connection.js'
import { EngineVictim } from './support/engine-victim.js'
import { cgroupsOf } from './support/family.js'
import { Victim } from './support/victim.js'

const stage = useStage()
const { EIO } = os.constants.errno

/** One of every kind of thing that a step has to do with. */
const QUIET = ['memory.py', 'pipes.py', 'threads.py', 'tree.py', 'groups.py', 'terminal_pair.py']
/** They have other processes after they have verified what they are. */
const RESTLESS = ['shell.py', 'zombies.py']

const CAPTURE = stepsOf('checkpoint', 'capture')
const TEMPLATE = stepsOf('template', 'content')
const REVIVE = stepsOf('standing', 'arrival', 'birth', 'fill', 'revive')

/** As the engine names them. */
function stepsOf(...files: string[]): string[] {
  const pattern =
    /^ {4}\{"([a-z ]+)", \w+, \w+\},$|\*step = "([a-z ]+)"|\b(?:done|fault_at|fault_check)\([^"{;?]*?"([a-z ]+)"/gm
  const names = files.flatMap((file) =>
    [...source(`native/src/${file}.c`).matchAll(pattern)].map(([, a, b, c]) => a ?? b ?? c ?? ''),
  )
  return [...new Set(names)]
}

function source(name: string): string {
  return readFileSync(fileURLToPath(new URL(`../../${name}`, import.meta.url)), 'utf8')
}

/** All that an engine has brought into the world. */
function belongings(pid: number): unknown {
  return { ...heldBy(pid), processes: descendantsOf(pid), cgroups: cgroupsOf('of-a-fault') }
}

function descendantsOf(pid: number): number[] {
  const children = execFileSync('ps', ['-eo', 'pid=,ppid='], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
  const found: number[] = []
  for (const known = [pid]; known.length > 0; ) {
    const parent = known.pop()
    const own = children.flatMap(([child = 0, its]) => (its === parent ? [child] : []))
    found.push(...own)
    known.push(...own)
  }
  return found.sort((a, b) => a - b)
}

interface Play {
  readonly engine: EngineClient
  readonly pid: number
  readonly sandbox: string
  readonly quiet: readonly EngineVictim[]
  readonly restless: readonly EngineVictim[]
  /** Of the checkpoint that was taken. */
  readonly image: string
  readonly layers: readonly string[]
  readonly base: string
  /** Where directories can be made. */
  readonly family: string
}

/** A sandbox with victims and a checkpoint, and no daemon. */
async function play(quiet: readonly string[], restless: readonly string[]): Promise<Play> {
  const scene = await stage.scene()
  const victims: Victim[] = []
  for (const file of [...quiet, ...restless]) victims.push(await Victim.start(scene.box, file))
  const first = scene.layers.head
  const { id: image } = await scene.box.checkpoint()
  await scene.layers.add()
  const family = path.dirname(path.dirname(first))
  await stage.daemon.kill()
  const { engine, pid, hello } = await connectEngine(stage.daemon.runBase)
  await engine.request('cells.warm', { count: 0 })
  const processes = hello.sandboxes.find(({ sandbox }) => sandbox === scene.box.id)?.processes ?? []
  const spoken = victims.map((victim) => {
    const info = processes.find(({ process }) => process === victim.process)
    return new EngineVictim(engine, scene.box.id, victim.process, info?.written[0] ?? 0)
  })
  return {
    engine,
    pid,
    image,
    family,
    sandbox: scene.box.id,
    base: path.basename(family),
    layers: [first],
    quiet: spoken.slice(0, quiet.length),
    restless: spoken.slice(quiet.length),
  }
}

async function verifyAll(victims: readonly EngineVictim[]): Promise<void> {
  for (const victim of victims) await victim.verify()
}

/** Fails at the step. What only a passing moment forbids is asked for again, as the daemon does. */
async function failOnce(at: Play, attempt: (head: string) => Promise<unknown>, step: string): Promise<void> {
  const head = path.join(at.family, 'layers', 'of-a-fault')
  for (;;) {
    mkdirSync(head, { mode: 0o700 })
    const error = await attempt(head).then(
      () => new Error(`nothing failed at ${step}`),
      (reason) => reason,
    )
    if (!(error instanceof EngineError)) throw error
    expect(readdirSync(head), step).toEqual([])
    rmdirSync(head)
    if (error.code === 'unsettled') continue
    expect([error.errno, error.step]).toEqual([EIO, step])
    return
  }
}

/** The same, and it leaves nothing. */
async function failAt(step: string, at: Play, attempt: (head: string) => Promise<unknown>): Promise<void> {
  const before = belongings(at.pid)
  await failOnce(at, attempt, step)
  await expect.poll(() => belongings(at.pid), { message: step }).toEqual(before)
}

it('the steps are known', () => {
  expect(CAPTURE).toEqual(expect.arrayContaining(['freeze', 'copy memory', 'look at kin', 'capture', 'swap']))
  expect(TEMPLATE).toEqual(
    expect.arrayContaining(['clear memory', 'fork template', 'populate', 'close files']),
  )
  expect(REVIVE).toEqual(
    expect.arrayContaining(['mount overlay', 'make process', 'fill memory', 'make threads']),
  )
})

it('a step of a checkpoint, a rollback or a fork that fails is named, and nothing is different', {
  timeout: 300_000,
}, async () => {
  const at = await play(QUIET, RESTLESS)
  try {
    await failEverywhere(at)
    await verifyAll(at.restless)
  } finally {
    at.engine.close()
    await stage.daemon.start()
  }
})

async function failEverywhere(at: Play): Promise<void> {
  const { engine, sandbox, image, layers, base } = at
  const checkpoint = (head: string, fault: string): Promise<unknown> =>
    engine.request('sandbox.checkpoint', { sandbox, head, image: 'of-a-fault', much: 0, ...{ fault } })
  // From the first one on it is known of each process which pages it writes.
  await failOnce(at, (head) => checkpoint(head, 'capture'), 'capture')
  for (const fault of CAPTURE) {
    await failAt(fault, at, (head) => checkpoint(head, fault))
    await verifyAll(at.quiet)
  }
  const dir = path.join(at.family, 'sandboxes', 'of-a-fault')
  const setup = { base, dir, hostname: 'of-a-fault', net: 'none' as const, limits: {} }
  mkdirSync(dir)
  for (const fault of REVIVE) {
    await failAt(fault, at, (head) =>
      engine.request('sandbox.rollback', { sandbox, layers, head, image, ...{ fault } }),
    )
    await failAt(fault, at, (head) =>
      engine.request('sandbox.create', {
        sandbox: 'of-a-fault',
        ...setup,
        layers,
        head,
        image,
        ...{ fault },
      }),
    )
    expect(readdirSync(dir)).toEqual([])
    await verifyAll(at.quiet)
  }
  rmdirSync(dir)
}

it('a checkpoint whose templates cannot be built says so when they are needed', async () => {
  const at = await play(['memory.py', 'tree.py'], [])
  const { engine, sandbox } = at
  const layersDirectory = path.join(at.family, 'layers')
  const take = async (image: string, fault: string): Promise<void> => {
    for (;;) {
      const head = path.join(layersDirectory, image)
      mkdirSync(head, { mode: 0o700 })
      const taken = await engine
        .request('sandbox.checkpoint', { sandbox, head, image, much: 0, ...{ fault } })
        .catch((error) => (error.code === 'unsettled' ? undefined : Promise.reject(error)))
      if (!taken) {
        rmdirSync(head)
        continue
      }
      expect(taken.processes).toBeGreaterThan(0)
      return
    }
  }
  try {
    for (const step of TEMPLATE) {
      const name = step.replaceAll(' ', '-')
      const messages: string[] = []
      // One that grows from a whole one, one that fails and so gives the next nothing to grow from, and a whole one.
      for (const [image, fault] of [
        ['grows', step],
        ['fails', 'write pages'],
        ['begins', step],
        ['whole', ''],
      ]) {
        await take(`${name}-${image}`, fault ?? '')
        messages.push(await failureOf(at, `${name}-${image}`))
        await verifyAll(at.quiet)
      }
      const [a = '', , b = '', whole] = messages
      expect(whole, step).toBe('make terminals: Input/output error')
      expect(
        [a, b].some((message) => message.startsWith('its processes could not be kept')),
        step,
      ).toBe(true)
      expect(
        [a, b].every((message) => message === whole || message.includes(`${step}: Input/output error`)),
      ).toBe(true)
    }
  } finally {
    engine.close()
    process.kill(at.pid, 'SIGKILL')
    await stage.daemon.start()
  }
})

/** Of a rollback, which if nothing else forbids it fails when it begins with the processes. */
async function failureOf(at: Play, image: string): Promise<string> {
  const head = path.join(at.family, 'layers', 'of-a-rollback')
  mkdirSync(head, { mode: 0o700 })
  const parameters = { sandbox: at.sandbox, layers: at.layers, head, image, ...{ fault: 'make terminals' } }
  const message = await at.engine.request('sandbox.rollback', parameters).then(
    () => 'it was done',
    (error) => error.message,
  )
  rmdirSync(head)
  return message
}
