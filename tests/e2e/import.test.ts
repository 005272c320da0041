/** Files that arrive half, twice, or say of themselves what is not so: all of it, or nothing. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Manifest } from '@deltabox/protocol'
import { type Checkpoint, DeltaBoxError, type ImportOptions, Sandbox } from 'deltabox'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { sh } from './support/use-boxes.js'
import { useDaemon } from './support/use-daemon.js'

const built = fileURLToPath(new URL('../../native/build/deltabox-engine', import.meta.url))
const engine = process.env.DELTABOX_ENGINE ?? built
const deltabox = fileURLToPath(new URL('../../bin/deltabox', import.meta.url))
const the = useDaemon()

let directory: string
let content: Buffer
let workspace: string
let before: string[]

beforeAll(async () => {
  directory = mkdtempSync(path.join(tmpdir(), 'dbx-import-'))
  workspace = path.join(directory, 'workspace')
  mkdirSync(workspace)
  const box = await Sandbox.create({ client: the.client })
  await box.commands.start('sleep 1000')
  await sh(box, 'head -c 8000000 /dev/urandom > /root/a')
  await box.checkpoint()
  await sh(box, 'echo 1 > /root/b')
  const checkpoint = await box.checkpoint()
  content = Buffer.concat(await (await checkpoint.export()).toArray())
  await box.kill({ checkpoints: true })
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const families = (): string[] => readdirSync(path.join(the.daemon.dataDir, 'families')).sort()

beforeEach(() => {
  before = families()
})

function run(input: string | Uint8Array, ...args: string[]): Buffer {
  const { status, stdout, stderr } = spawnSync(engine, args, { input, maxBuffer: 1 << 30 })
  expect(`${status} ${stderr}`).toBe('0 ')
  return stdout
}

interface Unpacked {
  readonly manifest: Manifest
  readonly layers: string[]
  readonly images: string[]
}

/** What is changed in place, or told instead. */
type Change = (unpacked: Unpacked) => unknown

/** The same bytes, told of otherwise. */
function retold(change: Change): Buffer {
  const room = mkdtempSync(path.join(directory, 'room-'))
  const manifest = JSON.parse(run(content, '--uid-base', '100000', '--unpack', room).toString()) as Manifest
  const unpacked = {
    manifest,
    layers: manifest.layers.map(({ id }) => id),
    images: manifest.images.map(({ id }) => id),
  }
  const told = change(unpacked) ?? manifest
  const plan = [...unpacked.images.map((id) => `image ${id}`), ...unpacked.layers.map((id) => `layer ${id}`)]
  const input = `${plan.join('\n')}\n\n${typeof told === 'string' ? told : JSON.stringify(told)}`
  const file = run(input, '--uid-base', '100000', '--pack', room)
  rmSync(room, { recursive: true })
  return file
}

async function arrive(bytes: Uint8Array, given: ImportOptions = {}): Promise<Checkpoint> {
  return (await Sandbox.import(bytes, { client: the.client, ...given })).checkpoint
}

async function refused(bytes: Uint8Array, given: ImportOptions = {}): Promise<string> {
  const error = await arrive(bytes, given).catch((fault: unknown) => fault)
  expect(error).toBeInstanceOf(DeltaBoxError)
  expect(families()).toEqual(before)
  return `${(error as DeltaBoxError).code}: ${(error as DeltaBoxError).message}`
}

async function removeAll({ id }: Checkpoint): Promise<void> {
  const { parent } = await Sandbox.getCheckpoint(id, { client: the.client })
  for (const one of [id, parent]) await the.client.json({ method: 'DELETE', path: `/v1/checkpoints/${one}` })
}

// biome-ignore lint/suspicious/noExplicitAny: what no manifest may be
type Anything = any

/** What is changed of it, and what is said then. */
const LIES: [string, Change, string][] = [
  ['no JSON', () => '{', 'cannot be read'],
  ['another format', ({ manifest }) => ({ ...manifest, format: 2 }), '/format'],
  ['a layer that is not there', ({ layers }) => void layers.pop(), 'which is not in it'],
  ['an image that is not there', ({ images }) => void images.pop(), 'which is not in it'],
  [
    'fewer layers than there are',
    ({ manifest }) => {
      manifest.layers.pop()
      for (const one of manifest.checkpoints) one.layer = manifest.layers.at(-1)?.id ?? null
    },
    'does not tell of',
  ],
  [
    'a layer twice',
    ({ manifest }) => void manifest.layers.push(manifest.layers[0] as Anything),
    'is there twice',
  ],
  ['a layer that comes twice', ({ layers }) => void layers.push(layers[0] as string), 'File exists'],
  [
    'layers in a circle',
    ({ manifest: { layers } }) => void Object.assign(layers[0] as object, { parent: layers.at(-1)?.id }),
    'which is not there',
  ],
  [
    'a command twice',
    ({ manifest }) => void manifest.commands.push(manifest.commands[0] as Anything),
    'is there twice',
  ],
  [
    'an image of no checkpoint’s name',
    ({ manifest }) => void Object.assign(manifest.images[0] as object, { id: 'e-1' }),
    '/images/0/id',
  ],
  [
    'a variable that none can be',
    ({ manifest }) => void Object.assign(manifest.setup.env, { 'A=B': { C: 1 } }),
    '/setup/env',
  ],
  [
    'a path that is none',
    ({ manifest }) => ({ ...manifest, setup: { ...manifest.setup, cwd: '..' } }),
    '/cwd',
  ],
  [
    'a time that is none',
    ({ manifest }) => void Object.assign(manifest.checkpoints[0] as object, { createdAt: 2 ** 53 }),
    '/createdAt',
  ],
  [
    'sizes whose sum is no number',
    ({ manifest }) => void Object.assign(manifest.layers[0] as object, { bytes: 2 ** 53 - 1 }),
    '/layers/0/bytes',
  ],
  [
    'what a terminal would act on',
    ({ manifest }) => ({ ...manifest, host: { machine: 'x', system: '\u001b[2J' } }),
    '/host/system',
  ],
]

describe('a file that tells of', () => {
  it('what is in it is taken in', async () => {
    const checkpoint = await arrive(retold(() => undefined))
    expect(checkpoint).toMatchObject({ depth: 2, lost: 0 })
    await removeAll(checkpoint)
  })

  it.each(LIES)('%s is refused, and nothing of it stays', async (_what, change, said) => {
    const why = await refused(retold(change))
    expect(why).toContain(said)
    expect(why).toContain('import_invalid: ')
  })

  it('a workspace its layers have no tree for is refused', async () => {
    const file = retold(({ manifest }) => {
      manifest.setup.workspace = workspace
    })
    expect(await refused(file, { workspace })).toContain('has no fs1')
  })
})

describe('imports', () => {
  it('of the same file at once get names of their own', async () => {
    const all = await Promise.all([arrive(content), arrive(content), arrive(content)])
    expect(new Set(all.map(({ id }) => id)).size).toBe(3)
    for (const one of all) await removeAll(one)
  })

  it('that their client gives up leave nothing', async () => {
    for (const bytes of [0, 1, 30, content.length >> 1, content.length - 1]) {
      const call = request({
        socketPath: the.daemon.socket,
        method: 'POST',
        path: '/v1/checkpoints/import',
        headers: { 'content-type': 'application/octet-stream', 'content-length': content.length },
        agent: false,
      })
      call.on('error', () => undefined)
      call.flushHeaders()
      await new Promise((resolve) => call.write(content.subarray(0, bytes), resolve))
      if (bytes > 1000) await expect.poll(families).not.toEqual(before)
      call.destroy()
      await expect.poll(families).toEqual(before)
      await expect.poll(unpackers).toEqual([])
    }
  })

  it('that a killed daemon was taking in leave nothing once there is another', async () => {
    const call = request({
      socketPath: the.daemon.socket,
      method: 'POST',
      path: '/v1/checkpoints/import',
      headers: { 'content-type': 'application/octet-stream' },
      agent: false,
    })
    call.on('error', () => undefined)
    call.write(content.subarray(0, content.length >> 1))
    const arriving = (): string | undefined =>
      families().find((name) =>
        existsSync(path.join(the.daemon.dataDir, 'families', name, 'incoming', 'images')),
      )
    await expect.poll(arriving).toBeDefined()
    await the.daemon.kill()
    await expect.poll(unpackers).toEqual([])
    await the.daemon.start()
    expect(families()).toEqual(before)
    const { status, stdout } = spawnSync(deltabox, ['doctor', '--store', '--json'], {
      env: { ...process.env, ...the.daemon.env },
      encoding: 'utf8',
    })
    expect(JSON.parse(stdout)).toMatchObject({ ok: true, problems: [] })
    expect(status).toBe(0)
    await removeAll(await arrive(content))
  })
})

/** Programs that unpack to where this daemon keeps its files. */
function unpackers(): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(unpacking())
    } catch {
      return false
    }
  })
}

function unpacking(): string {
  return `--unpack\0${the.daemon.dataDir}`
}
