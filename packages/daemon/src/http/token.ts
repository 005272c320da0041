import { createHash, timingSafeEqual } from 'node:crypto'
import { DeltaBoxError } from '@deltabox/protocol'
import type { App } from './server.js'

/** `/healthz` tells nothing, and those who ask it have no token. */
const OPEN = new Set(['/healthz'])

export function requireToken(app: App, token: string): void {
  const expected = digest(`Bearer ${token}`)
  app.addHook('onRequest', async (request) => {
    if (OPEN.has(request.routeOptions.url ?? '')) return
    // Digests have one length, so that comparing them tells nothing of the token's.
    if (timingSafeEqual(digest(request.headers.authorization ?? ''), expected)) return
    const why = request.headers.authorization === undefined ? 'carries no token' : 'carries a wrong token'
    throw new DeltaBoxError('unauthorized', `${request.method} ${request.url} ${why}`)
  })
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
