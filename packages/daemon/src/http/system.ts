import { addAbortSignal } from 'node:stream'
import { CheckStore, DaemonInfo, StoreReport } from '@deltabox/protocol'
import { Type } from 'typebox'
import { examineOwnStore } from '../state/doctor/examine-store.js'
import { daemonInfo } from '../state/info.js'
import type { State } from '../state/state.js'
import { EventStream } from './event-stream.js'
import { errors, Nothing, StreamedText } from './schemas.js'
import type { App } from './server.js'

const EVENTS = 'text/event-stream'

export function systemRoutes(app: App, state: State, shutdown: () => void): void {
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger())
  app.get(
    '/healthz',
    { schema: { operationId: 'health', response: { 200: Type.Object({ ok: Type.Boolean() }) } } },
    async () => ({ ok: true }),
  )
  app.get(
    '/metrics',
    {
      schema: {
        operationId: 'metrics',
        response: { 200: { content: { 'text/plain': { schema: StreamedText } } } },
      },
    },
    async (_request, reply) => {
      state.afterwards.finish()
      return reply.type(state.metrics.contentType).send(await state.metrics.text())
    },
  )
  app.get(
    '/v1/info',
    { schema: { operationId: 'info', response: { 200: DaemonInfo, ...errors } } },
    async () => daemonInfo(state),
  )
  app.post(
    '/v1/doctor/store',
    {
      schema: {
        operationId: 'checkStore',
        body: CheckStore,
        response: { 200: StoreReport, ...errors },
      },
    },
    async ({ body }) => examineOwnStore(state, body),
  )
  app.post(
    '/v1/shutdown',
    { schema: { operationId: 'shutdown', response: { 202: Nothing, ...errors } } },
    async (_request, reply) => {
      reply.raw.once('close', shutdown)
      return reply.status(202).send({})
    },
  )
  app.get(
    '/v1/events',
    {
      schema: {
        operationId: 'events',
        response: { 200: { content: { [EVENTS]: { schema: StreamedText } } } },
      },
    },
    async (_request, reply) => {
      const stream = new EventStream((listener) => state.events.subscribe(listener))
      addAbortSignal(state.stopping.signal, stream)
      return reply.type(EVENTS).header('cache-control', 'no-store').send(stream)
    },
  )
}
