import { Readable } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import type { App } from './server.js'

/** In this scope a body is bytes, whatever its content type says and however long it is. */
export function takeRawBodies(app: App): App {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
  return app
}

export function bodyStream(request: Pick<FastifyRequest, 'body'>): Readable {
  return request.body instanceof Readable ? request.body : Readable.from([])
}
