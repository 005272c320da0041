/** The disk is full: nothing is lost, the sandbox runs on, and it goes on by itself once there is room. */
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { type Checkpoint, Client, Sandbox } from 'deltabox'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { TestDaemon } from '../e2e/support/daemon.js'
import { Churn } from './support/churn.js'
import { LoopDisks, run } from './support/loop-disks.js'

const disks = new LoopDisks()
let daemon: TestDaemon
let client: Client

beforeAll(async () => {
  daemon = new TestDaemon()
  disks.make(path.join(daemon.directory, 'disk.img'), '400M', daemon.dataDir)
  mkdirSync(path.join(daemon.dataDir, 'data'))
  daemon.env.DELTABOX_DATA = path.join(daemon.dataDir, 'data')
  await daemon.start()
  client = new Client({ url: daemon.url })
})

afterAll(async () => {
  const { sandboxes } = (await daemon.get('/v1/sandboxes')).json
  for (const { id } of sandboxes) await daemon.call('DELETE', `/v1/sandboxes/${id}?checkpoints=true`)
  await daemon.stop()
  disks.unmountAll()
  rmSync(daemon.directory, { recursive: true, force: true })
})

const look = ({ id }: Checkpoint): Promise<Checkpoint> => Sandbox.getCheckpoint(id, { client })
const filler = (): string => path.join(daemon.dataDir, 'filler')

/** But for about so many bytes. */
function fill(left: number): void {
  try {
    run('dd', 'if=/dev/zero', `of=${filler()}`, 'bs=64k', 'status=none')
  } catch {
    // It ends when there is no room.
  }
  run('truncate', '-s', `-${left}`, filler())
}

it('an image that finds no room is tried again, and the checkpoint can be gone back to meanwhile', async () => {
  const worker = await Churn.start(client, 40)
  await worker.step(1)
  const first = await worker.box.checkpoint()
  await expect.poll(async () => (await look(first)).state).toBe('durable')
  for (let number = 2; number < 6; number++) await worker.step(number)
  const digest = await worker.digest()
  fill(512 << 10)
  const second = await worker.box.checkpoint()
  await expect.poll(async () => (await look(second)).reason).toContain('No space left on device')
  expect(await look(second)).toMatchObject({ state: 'ready', inMemory: true, imageBytes: null })
  expect(await worker.digest()).toBe(digest)
  await worker.box.rollback(second)
  expect(await worker.digest()).toBe(digest)
  rmSync(filler())
  await expect.poll(async () => (await look(second)).state).toBe('durable')
  expect((await look(second)).reason).toBeUndefined()
  await worker.box.rollback(first)
  await worker.box.rollback(second)
  expect(await worker.digest()).toBe(digest)
  await worker.box.kill({ checkpoints: true })
}, 120_000)

it('a switch that finds no room fails, and changes nothing', async () => {
  const worker = await Churn.start(client, 4)
  await worker.step(1)
  const digest = await worker.digest()
  fill(0)
  const results = await Promise.allSettled([worker.box.checkpoint()])
  // What room there was may have done for a few directories.
  for (const result of results) {
    if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'disk_full' })
  }
  expect(await worker.digest()).toBe(digest)
  rmSync(filler())
  const checkpoint = await worker.box.checkpoint()
  await worker.step(2)
  await worker.box.rollback(checkpoint)
  expect(await worker.digest()).toBe(digest)
  await worker.box.kill({ checkpoints: true })
}, 120_000)

it('what is taken in and finds no room leaves nothing', async () => {
  const worker = await Churn.start(client, 40)
  await worker.step(1)
  const checkpoint = await worker.box.checkpoint()
  const digest = await worker.digest()
  const content = Buffer.concat(await (await checkpoint.export()).toArray())
  await worker.box.kill({ checkpoints: true })
  const families = (): string[] => readdirSync(path.join(daemon.dataDir, 'data', 'families')).sort()
  const before = families()
  for (const left of [0, 64 << 10, content.length >> 1]) {
    fill(left)
    const error = await Sandbox.import(content, { client }).catch((fault: unknown) => fault)
    expect(`${(error as { code: string }).code} ${(error as Error).message}`).toContain('disk_full ')
    expect(families()).toEqual(before)
    rmSync(filler())
  }
  const { checkpoint: arrived } = await Sandbox.import(content, { client })
  const [box] = await arrived.fork()
  if (!box) throw new Error('one was wanted')
  expect(await (await Churn.in(box, worker.process)).digest()).toBe(digest)
  await box.kill({ checkpoints: true })
  await arrived.delete()
}, 120_000)
