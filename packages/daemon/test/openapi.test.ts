import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type App, buildServer } from '../src/http/server.js'
import { Metrics } from '../src/state/metrics.js'
import type { State } from '../src/state/state.js'
import { NO_COUNTS } from './support/fake-engine.js'

interface Operation {
  readonly operationId?: string
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly schema: unknown }[]
  readonly responses?: Readonly<Record<string, unknown>>
}

let app: App
let document: { openapi: string; info: object; paths: Record<string, Record<string, Operation>> }

beforeAll(async () => {
  // Routes look at the state when they are called, and none that needs more is.
  const state = { log: pino({ level: 'silent' }), metrics: new Metrics(NO_COUNTS) } as unknown as State
  app = await buildServer(state, { token: undefined, shutdown: () => undefined })
  document = (await app.inject('/openapi.json')).json()
})
afterAll(() => app.close())

const operations = (): [string, Operation][] =>
  Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]): [string, Operation] => [`${method} ${path}`, operation]),
  )

describe('/openapi.json', () => {
  it('describes every address that docs/http-api.md lists', () => {
    expect(
      operations()
        .map(([name]) => name)
        .sort(),
    ).toEqual([
      'delete /v1/checkpoints/{checkpoint}',
      'delete /v1/sandboxes/{sandbox}',
      'delete /v1/sandboxes/{sandbox}/files',
      'get /healthz',
      'get /metrics',
      'get /v1/checkpoints/{checkpoint}',
      'get /v1/checkpoints/{checkpoint}/export',
      'get /v1/diff',
      'get /v1/events',
      'get /v1/info',
      'get /v1/sandboxes',
      'get /v1/sandboxes/{sandbox}',
      'get /v1/sandboxes/{sandbox}/checkpoints',
      'get /v1/sandboxes/{sandbox}/commands',
      'get /v1/sandboxes/{sandbox}/commands/{process}',
      'get /v1/sandboxes/{sandbox}/commands/{process}/output',
      'get /v1/sandboxes/{sandbox}/diff',
      'get /v1/sandboxes/{sandbox}/files/content',
      'get /v1/sandboxes/{sandbox}/files/list',
      'get /v1/sandboxes/{sandbox}/files/stat',
      'get /v1/sandboxes/{sandbox}/retention',
      'get /v1/sandboxes/{sandbox}/stats',
      'get /v1/tree',
      'patch /v1/checkpoints/{checkpoint}',
      'patch /v1/sandboxes/{sandbox}',
      'post /v1/checkpoints/import',
      'post /v1/checkpoints/{checkpoint}/fork',
      'post /v1/checkpoints/{checkpoint}/prefetch',
      'post /v1/doctor/store',
      'post /v1/sandboxes',
      'post /v1/sandboxes/{sandbox}/apply',
      'post /v1/sandboxes/{sandbox}/checkpoints',
      'post /v1/sandboxes/{sandbox}/commands',
      'post /v1/sandboxes/{sandbox}/commands/{process}/resize',
      'post /v1/sandboxes/{sandbox}/commands/{process}/signal',
      'post /v1/sandboxes/{sandbox}/commands/{process}/stdin',
      'post /v1/sandboxes/{sandbox}/files/mkdir',
      'post /v1/sandboxes/{sandbox}/files/rename',
      'post /v1/sandboxes/{sandbox}/files/symlink',
      'post /v1/sandboxes/{sandbox}/fork',
      'post /v1/sandboxes/{sandbox}/promote',
      'post /v1/sandboxes/{sandbox}/prune',
      'post /v1/sandboxes/{sandbox}/rollback',
      'post /v1/shutdown',
      'put /v1/sandboxes/{sandbox}/files/content',
      'put /v1/sandboxes/{sandbox}/retention',
    ])
  })

  it('is OpenAPI 3.1 with operations that have names, responses and their path’s parameters', () => {
    expect(document.openapi).toBe('3.1.0')
    const names = operations().map(([, operation]) => operation.operationId)
    expect(new Set(names).size).toBe(names.length)
    for (const [name, operation] of operations()) {
      expect(Object.keys(operation.responses ?? {}).length, name).toBeGreaterThan(0)
      const inPath = [...name.matchAll(/\{(\w+)\}/g)].map((match) => match[1])
      const described = operation.parameters?.filter((parameter) => parameter.in === 'path') ?? []
      expect(
        described.map((parameter) => parameter.name),
        name,
      ).toEqual(inPath)
    }
  })

  it('holds no reference that leads nowhere', () => {
    const text = JSON.stringify(document)
    expect([...text.matchAll(/"\$ref":"([^"]+)"/g)].map((match) => match[1])).toEqual([])
  })
})
