/** Damage done by hand to a store: found, named with the checkpoints it takes along, and repaired where that can be. */

import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Checkpoint, checkStore, Sandbox, type StoreProblem, type StoreReport } from 'deltabox'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { Victim } from '../cr/support/victim.js'
import { enginesOf } from './support/engines.js'
import { flipByte } from './support/flip-byte.js'
import { useDaemon } from './support/use-daemon.js'

const deltabox = fileURLToPath(new URL('../../bin/deltabox', import.meta.url))

const the = useDaemon({ DELTABOX_POOL_BYTES: '0' })

/** Two families, each with a checkpoint that is on disk only, and one that its sandbox stands on. */
interface History {
  readonly box: Sandbox
  readonly victim: Victim
  readonly first: Checkpoint
  readonly second: Checkpoint
}
let damaged: History
let other: History

const look = ({ id }: { id: string }): Promise<Checkpoint> =>
  Sandbox.getCheckpoint(id, { client: the.client })

async function makeHistory(): Promise<History> {
  const box = await Sandbox.create({ client: the.client })
  const victim = await Victim.start(box, 'memory.py')
  const first = await box.checkpoint()
  await box.commands.start(['sleep', '1000'])
  const second = await box.checkpoint()
  await vi.waitFor(async () => {
    expect(await look(first)).toMatchObject({ state: 'durable', inMemory: false })
    expect(await look(second)).toMatchObject({ state: 'durable', inMemory: true })
  })
  return { box, victim, first, second }
}

beforeAll(async () => {
  damaged = await makeHistory()
  other = await makeHistory()
})
afterAll(async () => {
  for (const { box } of [damaged, other]) await box.kill({ checkpoints: true })
})

function doctor(...args: string[]): StoreReport & { status: number | null } {
  const { status, stdout, stderr } = spawnSync(deltabox, ['doctor', '--store', ...args, '--json'], {
    env: { ...process.env, ...the.daemon.env },
    encoding: 'utf8',
  })
  if (stdout === '') throw new Error(stderr)
  const report = JSON.parse(stdout) as StoreReport
  expect(status).toBe(report.ok ? 0 : 1)
  return { ...report, status }
}

const isHealthy = (): void => expect(doctor()).toMatchObject({ status: 0, problems: [] })

const familyOf = ({ id }: Checkpoint): string => {
  const families = path.join(the.daemon.dataDir, 'families')
  const found = readdirSync(families).find((name) => existsSync(path.join(families, name, 'images', id)))
  if (found === undefined) throw new Error(`${id} has no file`)
  return path.join(families, found)
}
const imageOf = (checkpoint: Checkpoint): string => path.join(familyOf(checkpoint), 'images', checkpoint.id)

/** The layer on the base: everything of its family stands on it. */
function lowestLayer(checkpoint: Checkpoint): string {
  const layers = path.join(familyOf(checkpoint), 'layers')
  const found = readdirSync(layers).find((name) => {
    const record = path.join(layers, name, 'layer.json')
    return existsSync(record) && JSON.parse(readFileSync(record, 'utf8')).parent === null
  })
  if (found === undefined) throw new Error('no layer stands on the base')
  return path.join(layers, found)
}

function onlyProblem(report: StoreReport): StoreProblem {
  expect(report.problems).toHaveLength(1)
  return report.problems[0] as StoreProblem
}

/** Only while no daemon runs. */
function sql(statement: string): void {
  const script =
    'import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute(sys.argv[2]); db.commit()'
  const { status, stderr } = spawnSync(
    'python3',
    ['-c', script, path.join(the.daemon.dataDir, 'deltabox.db'), statement],
    { encoding: 'utf8' },
  )
  expect(status, stderr).toBe(0)
}

describe.each([
  ['while the daemon runs', true],
  ['while none runs', false],
])('%s', (_when, isRunning) => {
  beforeEach(async () => {
    if (!isRunning) await the.daemon.stop()
  })
  afterEach(async () => {
    if (!isRunning) await the.daemon.start()
  })
  const both = (): string[] => [damaged.first.id, damaged.second.id].sort()

  it('a healthy store is said to be', () => {
    const report = doctor()
    expect(report).toMatchObject({ ok: true, status: 0, problems: [] })
    expect(report.checks.map(({ name }) => name)).toEqual([
      'layers',
      'images',
      'checkpoints',
      'references',
      'strays',
    ])
  })

  it.each([
    ['its head', () => 2],
    ['its pages', (size: number) => Math.floor(size / 3)],
    ['its last pages', (size: number) => Math.floor(size * 0.9)],
    ['its end', (size: number) => size - 20],
  ])('an image that is damaged in %s is named, with those that have pages in it', (_what, place) => {
    const file = imageOf(damaged.first)
    const at = place(statSync(file).size)
    flipByte(file, at)
    const problem = onlyProblem(doctor())
    expect(problem).toMatchObject({ kind: 'image_damaged', object: damaged.first.id, repaired: false })
    expect([...problem.checkpoints].sort()).toEqual(both())
    flipByte(file, at)
    isHealthy()
  })

  it('a record that is missing or wrong is written again', () => {
    const layer = path.join(lowestLayer(damaged.first), 'layer.json')
    const image = `${imageOf(damaged.first)}.json`
    const before = [layer, image].map((file) => JSON.parse(readFileSync(file, 'utf8')))
    rmSync(layer)
    rmSync(image)
    const kinds = (): string[] => doctor().problems.map(({ kind }) => kind)
    expect(kinds()).toEqual(['layer_record_missing', 'image_record_missing'])
    expect(doctor('--repair')).toMatchObject({
      status: 0,
      problems: [{ repaired: true }, { repaired: true }],
    })
    isHealthy()
    writeFileSync(layer, JSON.stringify({ ...before[0], parent: 'l-other' }))
    writeFileSync(image, '{')
    expect(kinds()).toEqual(['layer_record_wrong', 'image_record_wrong'])
    expect(doctor('--repair').status).toBe(0)
    isHealthy()
    expect([layer, image].map((file) => JSON.parse(readFileSync(file, 'utf8')))).toEqual(before)
  })

  it('a layer that is missing is told with all that stand on it, and stays so', () => {
    const directory = lowestLayer(damaged.first)
    renameSync(path.join(directory, 'fs0'), path.join(directory, 'away'))
    for (const args of [[], ['--repair']]) {
      const report = doctor(...args)
      expect(report.status).toBe(1)
      const problem = onlyProblem(report)
      expect(problem).toMatchObject({
        kind: 'layer_missing',
        object: path.basename(directory),
        repaired: false,
      })
      expect([...problem.checkpoints].sort()).toEqual(both())
    }
    renameSync(path.join(directory, 'away'), path.join(directory, 'fs0'))
    isHealthy()
  })

  it('strays are removed', () => {
    const family = familyOf(damaged.first)
    const strays = [
      path.join(family, 'layers', 'l-stray', 'fs0', 'upper'),
      path.join(family, 'images', 'cp-stray'),
      path.join(family, 'images', 'cp-stray.json'),
      path.join(family, 'images', 'cp-stray.json.new'),
      path.join(family, 'sandboxes', 'sb-stray'),
      path.join(family, '..', 'stray', 'layers'),
    ]
    for (const stray of strays) mkdirSync(stray, { recursive: true })
    const found = doctor().problems
    expect(found.map(({ kind }) => kind)).toEqual(strays.map(() => 'stray'))
    for (const stray of strays) expect(existsSync(stray)).toBe(true)
    expect(doctor('--repair').status).toBe(0)
    for (const stray of strays) expect(existsSync(stray)).toBe(false)
    isHealthy()
  })
})

it('an image of a format that the engine does not know is left alone', async () => {
  const file = imageOf(damaged.first)
  flipByte(file, 8)
  expect(onlyProblem(doctor('--repair'))).toMatchObject({
    ...{ kind: 'image_unreadable', object: damaged.first.id, repaired: false },
    detail: expect.stringContaining('format'),
  })
  flipByte(file, 8)
  expect(await look(damaged.first)).toMatchObject({ state: 'durable' })
  isHealthy()
})

it('the engine notices whichever byte of an image is another', () => {
  const file = imageOf(damaged.second)
  const engine = fileURLToPath(new URL('../../native/build/deltabox-engine', import.meta.url))
  const size = statSync(file).size
  const unnoticed: number[] = []
  for (let i = 0; i < 100; i++) {
    const at = 16 + Math.floor(((size - 17) * i) / 99)
    flipByte(file, at)
    const { stdout } = spawnSync(engine, ['--check-images', path.dirname(file), damaged.second.id])
    if (JSON.parse(String(stdout)).images[0].ok) unnoticed.push(at)
    flipByte(file, at)
  }
  expect(unnoticed).toEqual([])
})

describe('rows that speak of what is not there', () => {
  it('are found, and removed', async () => {
    await the.daemon.stop()
    sql("INSERT INTO holds VALUES ('h-x', 'l-x')")
    sql("INSERT INTO image_needs VALUES ('cp-x', 'cp-y')")
    sql("INSERT INTO layers (id, family, state, created_at) VALUES ('l-gone', 'gone', 'frozen', 1)")
    const kinds = ({ problems }: StoreReport): string[] => problems.map(({ kind }) => kind).sort()
    const expected = ['family_gone', 'hold_without_layer', 'layer_missing', 'need_without_image']
    expect(kinds(doctor())).toEqual(expected)
    doctor('--repair')
    isHealthy()
    await the.daemon.start()
    isHealthy()
  })
})

describe('the rows of images that are gone', () => {
  it('come again where their files are whole', async () => {
    const { first, second } = damaged
    await the.daemon.stop()
    sql(`DELETE FROM images WHERE id = '${first.id}'`)
    const { problems } = doctor()
    expect(problems.map(({ kind, object }) => [kind, object])).toEqual([
      ['image_row_missing', first.id],
      ['checkpoint_image_missing', first.id],
      ['need_without_image', first.id],
    ])
    expect([...(problems[0]?.checkpoints ?? [])].sort()).toEqual([first.id, second.id].sort())
    expect(doctor('--repair').status).toBe(0)
    isHealthy()
    await the.daemon.start()
    expect(await look(first)).toMatchObject({ state: 'durable', lost: 0 })
    isHealthy()
  })
})

describe('a store in use', () => {
  it('has no problems while sandboxes and checkpoints come and go', async () => {
    let isOver = false
    const work = async (): Promise<void> => {
      const box = await Sandbox.create({ client: the.client })
      for (let round = 0; round < 12; round++) {
        await box.commands.run(`echo ${round} > /srv/${round}`)
        await box.commands.start(['sleep', '1000'])
        const checkpoint = await box.checkpoint()
        const kids = await box.fork(2)
        await box.rollback(checkpoint)
        for (const kid of kids) await kid.kill({ checkpoints: true })
        if (round % 3 === 0) await checkpoint.delete()
      }
      await box.kill({ checkpoints: true })
    }
    const works = Promise.allSettled([work(), work()]).finally(() => {
      isOver = true
    })
    const reports: StoreReport[] = []
    while (!isOver) reports.push(await checkStore({ client: the.client, repair: reports.length % 2 === 1 }))
    expect((await works).map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled'])
    expect(reports.length).toBeGreaterThan(3)
    expect(reports.flatMap(({ problems }) => problems)).toEqual([])
  })
})

describe('the repair of an image', () => {
  it('is refused while no daemon runs and an engine has it in memory', async () => {
    const file = imageOf(damaged.second)
    const at = Math.floor(statSync(file).size / 2)
    flipByte(file, at)
    await the.daemon.stop()
    expect(onlyProblem(doctor('--repair'))).toMatchObject({
      ...{ kind: 'image_damaged', object: damaged.second.id, repaired: false },
      detail: expect.stringContaining('start the daemon'),
    })
    await the.daemon.start()
    flipByte(file, at)
    isHealthy()
  })

  it('writes again what an engine has in memory', async () => {
    const { first, second, box, victim } = await makeHistory()
    const file = imageOf(second)
    const before = readFileSync(file)
    flipByte(file, Math.floor(before.length / 2))
    expect(onlyProblem(doctor('--repair'))).toMatchObject({
      ...{ kind: 'image_damaged', object: second.id, checkpoints: [second.id], repaired: true },
    })
    await expect.poll(async () => (await look(second)).state).toBe('durable')
    isHealthy()
    await box.commands.start(['sleep', '1000'])
    const third = await box.checkpoint()
    await box.commands.start(['sleep', '1000'])
    const fourth = await box.checkpoint()
    for (const one of [third, fourth]) await expect.poll(async () => (await look(one)).state).toBe('durable')
    isHealthy()
    // What is taken later stands on the new file.
    for (const one of [second, third, first]) {
      await victim.change()
      await expect.poll(async () => (await look(one)).inMemory).toBe(false)
      expect((await box.rollback(one)).source).toBe('image')
      await victim.verify()
    }
    await box.kill({ checkpoints: true })
  })

  it('keeps what is in memory though it has pages in a file that is lost', async () => {
    const { first, second, box, victim } = await makeHistory()
    const family = path.basename(familyOf(first))
    const file = imageOf(first)
    flipByte(file, Math.floor(statSync(file).size / 3))
    const problem = onlyProblem(doctor('--repair'))
    expect(problem).toMatchObject({ kind: 'image_damaged', object: first.id, repaired: true })
    expect([...problem.checkpoints].sort()).toEqual([first.id, second.id].sort())
    expect(await look(first)).toMatchObject({
      ...{ state: 'failed', lost: 1 },
      reason: expect.stringContaining('damaged'),
    })
    await expect.poll(async () => (await look(second)).state).toBe('durable')
    isHealthy()
    process.kill(enginesOf(the.daemon).get(family) ?? 0, 'SIGKILL')
    await expect.poll(async () => (await look(second)).inMemory).toBe(false)
    expect(await box.rollback(first)).toMatchObject({ processes: 0, lost: 1 })
    expect((await box.rollback(second)).source).toBe('image')
    await (await victim.in(box)).verify()
    await box.kill({ checkpoints: true })
  })

  it('marks what nobody has as lost while no daemon runs, and the next one knows', async () => {
    const { first, second, box } = damaged
    const isOut = async (): Promise<boolean> => !(await look(second)).inMemory
    process.kill(enginesOf(the.daemon).get(path.basename(familyOf(first))) ?? 0, 'SIGKILL')
    await expect.poll(isOut).toBe(true)
    await the.daemon.stop()
    rmSync(imageOf(first))
    const problem = onlyProblem(doctor('--repair'))
    expect(problem).toMatchObject({ kind: 'image_missing', object: first.id, repaired: true })
    expect([...problem.checkpoints].sort()).toEqual([first.id, second.id].sort())
    isHealthy()
    await the.daemon.start()
    isHealthy()
    for (const one of [first, second]) {
      expect(await look(one)).toMatchObject({ state: 'failed', reason: expect.any(String) })
    }
    expect(await look(other.first)).toMatchObject({ state: 'durable', lost: 0 })
    expect(await box.rollback(second)).toMatchObject({ processes: 0, lost: 2 })
  })
})
