import { PruneCheckpoints, Pruned, Retention, SetRetention } from '@deltabox/protocol'
import { pruneCheckpoints } from '../state/prune.js'
import { getRetention, setRetention } from '../state/retention.js'
import type { State } from '../state/state.js'
import { errors, SandboxParameter } from './schemas.js'
import type { App } from './server.js'

export function retentionRoutes(app: App, state: State): void {
  const sandbox = '/v1/sandboxes/:sandbox'
  const params = SandboxParameter
  app.post(
    `${sandbox}/prune`,
    {
      schema: {
        operationId: 'pruneCheckpoints',
        params,
        body: PruneCheckpoints,
        response: { 200: Pruned, ...errors },
      },
    },
    async (request) => pruneCheckpoints(state, request.params.sandbox, request.body),
  )
  app.get(
    `${sandbox}/retention`,
    { schema: { operationId: 'getRetention', params, response: { 200: Retention, ...errors } } },
    async (request) => getRetention(state, request.params.sandbox),
  )
  app.put(
    `${sandbox}/retention`,
    {
      schema: {
        operationId: 'setRetention',
        params,
        body: SetRetention,
        response: { 200: Retention, ...errors },
      },
    },
    async (request) => setRetention(state, request.params.sandbox, request.body),
  )
}
