import { Imported, ImportQuery } from '@deltabox/protocol'
import { exportCheckpoint } from '../state/export.js'
import { importCheckpoint } from '../state/import.js'
import type { State } from '../state/state.js'
import { bodyStream, takeRawBodies } from './raw-body.js'
import { Bytes, CheckpointParameter, errors } from './schemas.js'
import type { App } from './server.js'

const OCTETS = 'application/octet-stream'

/** Checkpoints that leave for another host, or arrive from one. */
export function transferRoutes(app: App, state: State): void {
  app.get(
    '/v1/checkpoints/:checkpoint/export',
    {
      schema: {
        operationId: 'exportCheckpoint',
        params: CheckpointParameter,
        response: { 200: { content: { [OCTETS]: { schema: Bytes } } }, ...errors },
      },
    },
    async (request, reply) =>
      reply.type(OCTETS).send(await exportCheckpoint(state, request.params.checkpoint)),
  )
  app.register((raw, _options, done) => {
    importRoute(takeRawBodies(raw), state)
    done()
  })
}

function importRoute(app: App, state: State): void {
  app.post(
    '/v1/checkpoints/import',
    {
      schema: {
        operationId: 'importCheckpoint',
        querystring: ImportQuery,
        response: { 201: Imported, ...errors },
      },
    },
    async (request, reply) =>
      reply.status(201).send(await importCheckpoint(state, request.query, bodyStream(request))),
  )
}
