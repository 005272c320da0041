import {
  FileList,
  FileStat,
  MakeDirectory,
  MakeSymlink,
  PathQuery,
  RemoveQuery,
  RenamePath,
  StatQuery,
  WriteQuery,
} from '@deltabox/protocol'
import {
  listDirectory,
  makeDirectory,
  makeSymlink,
  openFile,
  removePath,
  renamePath,
  statPath,
  writeFile,
} from '../state/files.js'
import type { State } from '../state/state.js'
import { bodyStream, takeRawBodies } from './raw-body.js'
import { Bytes, errors, NoContent, Nothing, SandboxParameter } from './schemas.js'
import type { App } from './server.js'

const FILES = '/v1/sandboxes/:sandbox/files'
const OCTETS = 'application/octet-stream'

export function fileRoutes(app: App, state: State): void {
  lookingRoutes(app, state)
  changingRoutes(app, state)
  app.register((raw, _options, done) => {
    writeRoute(takeRawBodies(raw), state)
    done()
  })
}

function lookingRoutes(app: App, state: State): void {
  app.get(
    `${FILES}/content`,
    {
      schema: {
        operationId: 'readFile',
        params: SandboxParameter,
        querystring: PathQuery,
        response: { 200: { content: { [OCTETS]: { schema: Bytes } } }, ...errors },
      },
    },
    async ({ params, query }, reply) => {
      const content = await openFile(state, params.sandbox, query.path)
      return reply.type(OCTETS).send(content)
    },
  )
  app.get(
    `${FILES}/stat`,
    {
      schema: {
        operationId: 'statPath',
        params: SandboxParameter,
        querystring: StatQuery,
        response: { 200: FileStat, ...errors },
      },
    },
    async ({ params, query }) => statPath(state, params.sandbox, query),
  )
  app.get(
    `${FILES}/list`,
    {
      schema: {
        operationId: 'listDirectory',
        params: SandboxParameter,
        querystring: PathQuery,
        response: { 200: FileList, ...errors },
      },
    },
    async ({ params, query }) => listDirectory(state, params.sandbox, query.path),
  )
}

function changingRoutes(app: App, state: State): void {
  const changed = { 200: Nothing, ...errors }
  app.post(
    `${FILES}/mkdir`,
    {
      schema: {
        operationId: 'makeDirectory',
        params: SandboxParameter,
        body: MakeDirectory,
        response: changed,
      },
    },
    async ({ params, body }) => {
      await makeDirectory(state, params.sandbox, body)
      return {}
    },
  )
  app.post(
    `${FILES}/rename`,
    { schema: { operationId: 'renamePath', params: SandboxParameter, body: RenamePath, response: changed } },
    async ({ params, body }) => {
      await renamePath(state, params.sandbox, body)
      return {}
    },
  )
  app.post(
    `${FILES}/symlink`,
    {
      schema: { operationId: 'makeSymlink', params: SandboxParameter, body: MakeSymlink, response: changed },
    },
    async ({ params, body }) => {
      await makeSymlink(state, params.sandbox, body)
      return {}
    },
  )
  app.delete(
    FILES,
    {
      schema: {
        operationId: 'removePath',
        params: SandboxParameter,
        querystring: RemoveQuery,
        response: { 204: NoContent, ...errors },
      },
    },
    async ({ params, query }, reply) => {
      await removePath(state, params.sandbox, query)
      return reply.status(204).send(null)
    },
  )
}

function writeRoute(app: App, state: State): void {
  app.put(
    `${FILES}/content`,
    {
      schema: {
        operationId: 'writeFile',
        params: SandboxParameter,
        querystring: WriteQuery,
        response: { 200: FileStat, ...errors },
      },
    },
    async (request) => writeFile(state, request.params.sandbox, request.query, bodyStream(request)),
  )
}
