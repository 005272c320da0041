/** What the API says to requests that are wrong. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TestDaemon } from './support/daemon.js'

let daemon: TestDaemon
let box: string
let scratch: string

beforeAll(async () => {
  daemon = await TestDaemon.start()
  box = (await daemon.create({ name: 'taken' })).id
  scratch = mkdtempSync(path.join(tmpdir(), 'dbx-in-'))
  writeFileSync(path.join(scratch, 'file'), '')
  mkdirSync(path.join(scratch, 'directory'))
})
afterAll(async () => {
  await daemon.clean()
  rmSync(scratch, { recursive: true })
})

async function refusal(method: string, url: string, body?: object): Promise<[number, string, string]> {
  const { status, json } = await daemon.call(method, url.replace(':box', box), body)
  const { code, message, remedy, details } = json.error
  expect(remedy.length).toBeGreaterThan(0)
  expect(details).toBeTypeOf('object')
  return [status, code, message]
}

describe('creating', () => {
  const wrong: [string, () => object, number, string, RegExp][] = [
    ['an unknown field', () => ({ nam: 'x' }), 400, 'invalid_request', /^nam is not known/],
    ['a number as text', () => ({ pids: '5' }), 400, 'invalid_request', /^pids .*got "5"/],
    [
      'too little memory',
      () => ({ memoryBytes: 1 }),
      400,
      'invalid_request',
      /^memoryBytes .*16777216.*got 1$/,
    ],
    ['no cpus', () => ({ cpus: 0 }), 400, 'invalid_request', /^cpus .*got 0/],
    ['a name like an id', () => ({ name: 'sb-mine' }), 400, 'invalid_request', /^name .*got "sb-mine"/],
    ['a name with a slash', () => ({ name: 'a/b' }), 400, 'invalid_request', /got "a\/b"/],
    ['another net', () => ({ net: 'bridge' }), 400, 'invalid_request', /^net .*got "bridge"/],
    ['a variable that is no text', () => ({ env: { A: 1 } }), 400, 'invalid_request', /^env.A .*got 1/],
    ['a taken name', () => ({ name: 'taken' }), 409, 'name_taken', /"taken" belongs to sb-/],
    [
      'a relative base',
      () => ({ base: 'x' }),
      400,
      'invalid_request',
      /base must be an absolute path, not "x"/,
    ],
    ['no base', () => ({ base: '/no/such' }), 400, 'base_not_found', /\/no\/such as base: it does not exist/],
    ['a file as base', () => ({ base: `${scratch}/file` }), 400, 'base_not_found', /not a directory/],
    ['no workspace', () => ({ workspace: '/no/such' }), 400, 'workspace_not_found', /it does not exist/],
    ['the host as workspace', () => ({ workspace: '/' }), 400, 'invalid_request', /whole host/],
    [
      'a workspace around the data',
      () => ({ workspace: path.dirname(daemon.dataDir) }),
      400,
      'invalid_request',
      /holds or lies in the data directory/,
    ],
    ['a relative mask', () => ({ mask: ['etc'] }), 400, 'invalid_request', /mask .*"etc"/],
    ['proc as base', () => ({ base: '/proc' }), 400, 'base_unsupported', /shift ids \(\/proc\)/],
  ]
  it.each(wrong)('with %s is refused', async (_what, body, status, code, message) => {
    const [gotStatus, gotCode, gotMessage] = await refusal('POST', '/v1/sandboxes', body())
    expect([gotStatus, gotCode]).toEqual([status, code])
    expect(gotMessage).toMatch(message)
  })

  it('leaves nothing behind when it fails', async () => {
    expect((await daemon.get('/v1/sandboxes')).json.sandboxes.map((one: { id: string }) => one.id)).toEqual([
      box,
    ])
  })

  it('with one name at a time makes one sandbox', async () => {
    const replies = await Promise.all(
      [1, 2, 3].map(() => daemon.call('POST', '/v1/sandboxes', { name: 'once' })),
    )
    expect(replies.map((reply) => reply.status).sort()).toEqual([201, 409, 409])
    await daemon.call('DELETE', '/v1/sandboxes/once')
  })
})

describe('asking', () => {
  const wrong: [string, string, object | undefined, number, string, RegExp][] = [
    ['GET', '/v1/nowhere', undefined, 404, 'not_found', /no GET \/v1\/nowhere/],
    ['PUT', '/v1/sandboxes', undefined, 404, 'not_found', /no PUT/],
    ['GET', '/v1/sandboxes/none', undefined, 404, 'sandbox_not_found', /"none"/],
    ['GET', '/v1/sandboxes/sb-', undefined, 404, 'sandbox_not_found', /"sb-"/],
    ['PATCH', '/v1/sandboxes/:box', {}, 400, 'invalid_request', /name/],
    ['PATCH', '/v1/sandboxes/none', { name: 'x' }, 404, 'sandbox_not_found', /none/],
    ['DELETE', '/v1/sandboxes/none', undefined, 404, 'sandbox_not_found', /none/],
    ['GET', '/v1/sandboxes/:box/commands/p-none', undefined, 404, 'process_not_found', /"p-none"/],
    ['GET', '/v1/sandboxes/:box/commands/p-none/output', undefined, 404, 'process_not_found', /"p-none"/],
    [
      'GET',
      '/v1/sandboxes/:box/commands/p/output?stdout=-1',
      undefined,
      400,
      'invalid_request',
      /^stdout .*-1/,
    ],
    [
      'GET',
      '/v1/sandboxes/:box/commands/p/output?follow=maybe',
      undefined,
      400,
      'invalid_request',
      /^follow .*maybe/,
    ],
    [
      'GET',
      '/v1/sandboxes/:box/commands/p/output?strean=1',
      undefined,
      400,
      'invalid_request',
      /^strean is not known/,
    ],
    ['POST', '/v1/sandboxes/:box/commands', {}, 400, 'invalid_request', /command/],
    ['POST', '/v1/sandboxes/:box/commands', { command: [] }, 400, 'invalid_request', /^command/],
    ['POST', '/v1/sandboxes/:box/commands', { command: 5 }, 400, 'invalid_request', /^command .*got 5/],
    [
      'POST',
      '/v1/sandboxes/:box/commands',
      { command: 'x', timeoutMs: 0 },
      400,
      'invalid_request',
      /^timeoutMs/,
    ],
    [
      'POST',
      '/v1/sandboxes/:box/commands',
      { command: 'x', tty: { cols: 1 } },
      400,
      'invalid_request',
      /^tty/,
    ],
    ['GET', '/v1/sandboxes/%zz', undefined, 400, 'invalid_request', /%zz/],
  ]
  it.each(wrong)('%s %s %j is %i %s', async (method, url, body, status, code, message) => {
    const [gotStatus, gotCode, gotMessage] = await refusal(method, url, body)
    expect([gotStatus, gotCode]).toEqual([status, code])
    expect(gotMessage).toMatch(message)
  })

  it('in what is no JSON, or too much of it, is refused', async () => {
    const post = async (text: string, announced = text.length): Promise<string> => {
      const response = await daemon.open('POST', '/v1/sandboxes', text, {
        'content-type': 'application/json',
        'content-length': String(announced),
      })
      let body = ''
      for await (const piece of response) body += piece
      return `${response.statusCode} ${JSON.parse(body).error.code}`
    }
    expect(await post('{"name":')).toBe('400 invalid_request')
    // refused by what it announces: one that sent it all would race the daemon's closing
    expect(await post('{"env":', 2_000_000)).toBe('400 invalid_request')
  })

  it('a sandbox by name, by id and by the beginning of its id is one', async () => {
    for (const reference of ['taken', box, box.slice(0, 8)]) {
      expect((await daemon.get(`/v1/sandboxes/${reference}`)).json.id).toBe(box)
    }
  })

  it('for a new name gives it', async () => {
    expect((await daemon.call('PATCH', `/v1/sandboxes/${box}`, { name: 'new' })).json).toMatchObject({
      id: box,
      name: 'new',
    })
    expect((await daemon.get('/v1/sandboxes/taken')).status).toBe(404)
  })

  it('for metrics gives Prometheus’ text', async () => {
    const text = (await daemon.get('/metrics')).bytes.toString()
    expect(text).toContain('deltabox_sandboxes{state="running"} 1\n')
    expect(text).toMatch(
      /deltabox_http_request_seconds_count\{method="POST",route="\/v1\/sandboxes",status="201"\} \d/,
    )
    expect(text).toContain('process_resident_memory_bytes')
  })
})
