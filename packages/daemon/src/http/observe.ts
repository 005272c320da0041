import type { State } from '../state/state.js'
import type { App } from './server.js'

export function observeRequests(app: App, state: State): void {
  app.addHook('onResponse', (request, reply, done) => {
    const { method, url, log } = request
    const route = request.routeOptions.url ?? 'none'
    const { statusCode: status, elapsedTime: ms } = reply
    state.afterwards.add(() => {
      state.metrics.httpSeconds.observe({ method, route, status }, ms / 1000)
      log.debug({ method, url, status, ms }, 'request')
    })
    done()
  })
}
