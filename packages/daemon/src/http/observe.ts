import type { State } from '../state/state.js'
import type { App } from './server.js'

export function observeRequests(app: App, state: State): void {
  app.addHook('onResponse', async (request, reply) => {
    const { method } = request
    const route = request.routeOptions.url ?? 'none'
    const seconds = reply.elapsedTime / 1000
    state.metrics.httpSeconds.observe({ method, route, status: reply.statusCode }, seconds)
    request.log.debug(
      { method, url: request.url, status: reply.statusCode, ms: reply.elapsedTime },
      'request',
    )
  })
}
