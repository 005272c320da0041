/** The API on one address. A request's life: token, parsing, validation, one call into state/, reply or error. */
import { chmod, rm } from 'node:fs/promises'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import fastifySwagger from '@fastify/swagger'
import { type TypeBoxTypeProvider, TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify'
import type { TcpAddress } from '../config.js'
import type { State } from '../state/state.js'
import { version } from '../version.js'
import { checkpointRoutes } from './checkpoints.js'
import { commandRoutes } from './commands.js'
import { notFound, sendError } from './errors.js'
import { fileRoutes } from './files.js'
import { observeRequests } from './observe.js'
import { retentionRoutes } from './retention.js'
import { sandboxRoutes } from './sandboxes.js'
import { systemRoutes } from './system.js'
import { requireToken } from './token.js'
import { transferRoutes } from './transfer.js'

export type App = FastifyInstance<
  Server,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>

export interface ServerOptions {
  /** Asked of every request when given. */
  readonly token: string | undefined
  readonly shutdown: () => void
}

/** The largest JSON that an engine's frame could carry on. */
const JSON_MAX_BYTES = 1024 * 1024

export async function buildServer(state: State, options: ServerOptions): Promise<App> {
  const app: App = fastify({
    loggerInstance: state.log as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: JSON_MAX_BYTES,
    // A HEAD of a command's output would be a reader that reads nothing.
    exposeHeadRoutes: false,
    frameworkErrors: sendError,
  }).withTypeProvider<TypeBoxTypeProvider>()
  app.setValidatorCompiler(TypeBoxValidatorCompiler)
  app.setErrorHandler(sendError)
  app.setNotFoundHandler(notFound)
  // Where everything in a body is optional, so is the body.
  app.addHook('preValidation', (request, _reply, done) => {
    if (request.routeOptions.schema?.body && request.body === undefined) request.body = {}
    done()
  })
  observeRequests(app, state)
  if (options.token !== undefined) requireToken(app, options.token)
  await app.register(fastifySwagger, {
    openapi: { openapi: '3.1.0', info: { title: 'DeltaBox', version } },
  })
  sandboxRoutes(app, state)
  checkpointRoutes(app, state)
  transferRoutes(app, state)
  retentionRoutes(app, state)
  commandRoutes(app, state)
  fileRoutes(app, state)
  systemRoutes(app, state, options.shutdown)
  await app.ready()
  return app
}

/** The socket of an earlier daemon is in the way; that it is gone is known by the lock on the data directory. */
export async function listenOnSocket(app: App, path: string): Promise<string> {
  await rm(path, { force: true })
  await app.listen({ path })
  await chmod(path, 0o600)
  return `unix:${path}`
}

export async function listenOnTcp(app: App, address: TcpAddress): Promise<string> {
  return app.listen({ host: address.host, port: address.port })
}
