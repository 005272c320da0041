import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { Client, Sandbox } from '../src/index.js'

let server: Server | undefined
afterEach(() => {
  server?.closeAllConnections()
  server?.close()
})

type Replies = Readonly<Record<string, unknown>>

/** Answers each `METHOD /path` with its JSON, and writes down what was asked for. */
async function serve(replies: Replies, asked: string[]): Promise<Client> {
  server = createServer(async (request, response) => {
    const pieces: Buffer[] = []
    for await (const piece of request) pieces.push(piece as Buffer)
    const call = `${request.method} ${request.url}`
    asked.push(`${call} ${Buffer.concat(pieces)}`.trimEnd())
    response.end(call in replies ? JSON.stringify(replies[call]) : '')
  })
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve))
  return new Client({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
}

const kid = (id: string): object => ({ id, name: null, checkpoint: 'cp-1' })
const point = { id: 'cp-1', sandbox: 'sb-1', parent: null, label: 'one', blockingMs: 1.5, unchanged: false }
const box = { 'GET /v1/sandboxes/sb-1': kid('sb-1') }

describe('a checkpoint', () => {
  it('is what the daemon tells, and makes sandboxes', async () => {
    const asked: string[] = []
    const client = await serve(
      {
        ...box,
        'POST /v1/sandboxes/sb-1/checkpoints': point,
        'POST /v1/checkpoints/cp-1/fork': { sandboxes: [kid('sb-2'), kid('sb-3')], ms: 3 },
      },
      asked,
    )
    const parent = await Sandbox.connect('sb-1', { client })
    const before = await parent.checkpoint('one')
    expect({ ...before }).toEqual(point)
    expect(parent.info.checkpoint).toBe('cp-1')
    expect((await before.fork(2)).map((made) => made.id)).toEqual(['sb-2', 'sb-3'])
    expect(asked.slice(1)).toEqual([
      'POST /v1/sandboxes/sb-1/checkpoints {"label":"one"}',
      'POST /v1/checkpoints/cp-1/fork {"count":2}',
    ])
  })

  it('taken while its caller gives up is deleted', async () => {
    const asked: string[] = []
    const client = await serve({ ...box, 'POST /v1/sandboxes/sb-1/checkpoints': point }, asked)
    const parent = await Sandbox.connect('sb-1', { client })
    const abort = new AbortController()
    const taking = parent.checkpoint({ signal: abort.signal })
    abort.abort()
    await expect(taking).rejects.toMatchObject({ code: 'aborted' })
    expect(asked.slice(1)).toEqual(['POST /v1/sandboxes/sb-1/checkpoints {}', 'DELETE /v1/checkpoints/cp-1'])
  })
})

describe('a fork', () => {
  const full = { code: 'disk_full', message: 'no room', remedy: '', details: {} }
  const replies = {
    ...box,
    'POST /v1/sandboxes/sb-1/fork': { sandboxes: [kid('sb-2'), { error: full }, kid('sb-3')], ms: 3 },
  }

  it('that is partial has an error in the place of what could not be made', async () => {
    const parent = await Sandbox.connect('sb-1', { client: await serve(replies, []) })
    expect(await parent.fork({ count: 3, partial: true })).toMatchObject([
      { id: 'sb-2' },
      { name: 'DeltaBoxError', code: 'disk_full', message: 'no room' },
      { id: 'sb-3' },
    ])
  })

  it('made while its caller gives up is removed', async () => {
    const asked: string[] = []
    const parent = await Sandbox.connect('sb-1', { client: await serve(replies, asked) })
    const abort = new AbortController()
    const forking = parent.fork({ count: 3, partial: true, signal: abort.signal })
    abort.abort()
    await expect(forking).rejects.toMatchObject({ code: 'aborted' })
    expect(asked.slice(2).sort()).toEqual(['DELETE /v1/sandboxes/sb-2', 'DELETE /v1/sandboxes/sb-3'])
  })
})

describe('a promotion', () => {
  it('moves the sandbox, and has an error for each that could not be removed', async () => {
    const asked: string[] = []
    const done = { sandbox: 'sb-1', fork: 'sb-2', checkpoint: 'cp-2', ms: 3, dropped: ['sb-2'] }
    const error = { code: 'engine_failed', message: 'no', remedy: '', details: { sandbox: 'sb-3' } }
    const replies = {
      ...box,
      'GET /v1/sandboxes/sb-2': kid('sb-2'),
      'POST /v1/sandboxes/sb-1/promote': { ...done, notDropped: [{ error }] },
    }
    const client = await serve(replies, asked)
    const main = await Sandbox.connect('sb-1', { client })
    const best = await Sandbox.connect('sb-2', { client })
    expect(await main.promote(best, { drop: true })).toEqual({
      ...done,
      notDropped: [
        expect.objectContaining({
          name: 'DeltaBoxError',
          code: 'engine_failed',
          details: { sandbox: 'sb-3' },
        }),
      ],
    })
    expect(main.info.checkpoint).toBe('cp-2')
    await main.promote('best')
    expect(asked.slice(2)).toEqual([
      'POST /v1/sandboxes/sb-1/promote {"fork":"sb-2","drop":true}',
      'POST /v1/sandboxes/sb-1/promote {"fork":"best"}',
    ])
  })
})

describe('pruning', () => {
  it('takes checkpoints for their ids, and the rules that stay are part of what is known of the sandbox', async () => {
    const asked: string[] = []
    const pruned = { removed: ['cp-2'], kept: 1, freedBytes: { files: 1, memory: 2, disk: 3 } }
    const replies: Record<string, unknown> = {
      ...box,
      'GET /v1/checkpoints/cp-1': point,
      'POST /v1/sandboxes/sb-1/prune': pruned,
      'PUT /v1/sandboxes/sb-1/retention': { retention: { keep: ['cp-1'] } },
    }
    const client = await serve(replies, asked)
    const parent = await Sandbox.connect('sb-1', { client })
    const kept = await Sandbox.getCheckpoint('cp-1', { client })
    expect(await parent.prune({ keepLast: 2, keep: [kept, 'cp-3'], family: true })).toEqual(pruned)
    await parent.setRetention({ keep: [kept] })
    expect(parent.info.retention).toEqual({ keep: ['cp-1'] })
    replies['PUT /v1/sandboxes/sb-1/retention'] = { retention: null }
    await parent.setRetention(null)
    expect(parent.info).not.toHaveProperty('retention')
    expect(asked.slice(2)).toEqual([
      'POST /v1/sandboxes/sb-1/prune {"keepLast":2,"keep":["cp-1","cp-3"],"family":true}',
      'PUT /v1/sandboxes/sb-1/retention {"keep":["cp-1"]}',
      'PUT /v1/sandboxes/sb-1/retention null',
    ])
  })
})

it('`await using` kills the sandbox at the end of the block', async () => {
  const asked: string[] = []
  const client = await serve({ ...box, 'DELETE /v1/sandboxes/sb-1': { checkpoints: 2 } }, asked)
  {
    await using parent = await Sandbox.connect('sb-1', { client })
    expect(parent.id).toBe('sb-1')
  }
  expect(asked).toEqual(['GET /v1/sandboxes/sb-1', 'DELETE /v1/sandboxes/sb-1'])
})
