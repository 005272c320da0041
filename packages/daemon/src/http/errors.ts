/** Every error leaves as an ErrorBody with the status of its code. */
import { DeltaBoxError } from '@deltabox/protocol'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { errorBody, toDeltaBoxError } from '../state/error-body.js'

export function sendError(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  const known = understand(error, request)
  if (hasLeft(request)) request.log.debug({ err: error, url: request.url }, 'the client left')
  else if (known.code === 'internal') request.log.error({ err: error, url: request.url }, 'fault')
  else request.log.debug({ code: known.code, url: request.url }, known.message)
  // A body that nobody reads any more would keep its sender, and the connection, waiting.
  if (!request.raw.complete) request.raw.resume()
  reply.status(known.status).type('application/json').send(errorBody(known))
}

export function notFound(request: FastifyRequest, reply: FastifyReply): void {
  const error = new DeltaBoxError('not_found', `there is no ${request.method} ${request.url}`)
  reply.status(error.status).send(errorBody(error))
}

function hasLeft(request: FastifyRequest): boolean {
  return request.raw.destroyed && !request.raw.complete
}

function understand(error: FastifyError, request: FastifyRequest): DeltaBoxError {
  if (error.validation) return invalidInput(error, request)
  if (!(error instanceof DeltaBoxError) && error.statusCode !== undefined && error.statusCode < 500) {
    return new DeltaBoxError('invalid_request', error.message, { cause: error })
  }
  return toDeltaBoxError(error)
}

interface Fault {
  readonly keyword: string
  readonly instancePath: string
  readonly message?: string | undefined
}

/** Names the field and shows what it was given. */
function invalidInput(error: FastifyError, request: FastifyRequest): DeltaBoxError {
  const where = error.validationContext ?? 'body'
  const input = where === 'querystring' ? request.query : request.body
  const fault = deepest((error.validation ?? []) as readonly Fault[])
  const path = fault?.instancePath ?? ''
  const field = path.slice(1).replaceAll('/', '.') || where
  // The schema of a property that may not be there is `false`.
  const isUnknown = fault?.keyword === 'boolean'
  const problem = isUnknown
    ? 'is not known'
    : `${fault?.message ?? 'is not valid'}, got ${shown(input, path)}`
  return new DeltaBoxError('invalid_request', `${field} ${problem}`, { cause: error, details: { field } })
}

/** Of the faults of a union's members the one that got furthest into the input says most. */
function deepest(faults: readonly Fault[]): Fault | undefined {
  const depth = (fault: Fault): number => fault.instancePath.split('/').length
  return [...faults].sort((a, b) => depth(b) - depth(a))[0]
}

const SHOWN_MAX_CHARACTERS = 100

function shown(input: unknown, path: string): string {
  let value = input
  for (const key of path.split('/').slice(1)) value = (value as Record<string, unknown> | undefined)?.[key]
  const text = value === undefined ? 'nothing' : JSON.stringify(value)
  return text.length > SHOWN_MAX_CHARACTERS ? `${text.slice(0, SHOWN_MAX_CHARACTERS)}…` : text
}
