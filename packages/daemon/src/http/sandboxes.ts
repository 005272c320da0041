import {
  AppliedChanges,
  ApplyWorkspace,
  CreatedSandbox,
  CreateSandbox,
  RemovedSandbox,
  RemoveSandboxQuery,
  RenameSandbox,
  SandboxInfo,
  SandboxList,
  SandboxStats,
} from '@deltabox/protocol'
import { applyWorkspace } from '../state/apply.js'
import { createSandbox } from '../state/create.js'
import { destroySandbox } from '../state/destroy.js'
import { getSandbox, listSandboxes, renameSandbox, sandboxStats } from '../state/sandboxes.js'
import type { State } from '../state/state.js'
import { errors, SandboxParameter } from './schemas.js'
import type { App } from './server.js'

export function sandboxRoutes(app: App, state: State): void {
  app.post(
    '/v1/sandboxes',
    {
      schema: {
        operationId: 'createSandbox',
        body: CreateSandbox,
        response: { 201: CreatedSandbox, ...errors },
      },
    },
    async (request, reply) => reply.status(201).send(await createSandbox(state, request.body)),
  )
  app.get(
    '/v1/sandboxes',
    { schema: { operationId: 'listSandboxes', response: { 200: SandboxList, ...errors } } },
    async () => listSandboxes(state),
  )
  app.get(
    '/v1/sandboxes/:sandbox',
    {
      schema: {
        operationId: 'getSandbox',
        params: SandboxParameter,
        response: { 200: SandboxInfo, ...errors },
      },
    },
    async (request) => getSandbox(state, request.params.sandbox),
  )
  app.patch(
    '/v1/sandboxes/:sandbox',
    {
      schema: {
        operationId: 'renameSandbox',
        params: SandboxParameter,
        body: RenameSandbox,
        response: { 200: SandboxInfo, ...errors },
      },
    },
    async (request) => renameSandbox(state, request.params.sandbox, request.body),
  )
  app.delete(
    '/v1/sandboxes/:sandbox',
    {
      schema: {
        operationId: 'removeSandbox',
        params: SandboxParameter,
        querystring: RemoveSandboxQuery,
        response: { 200: RemovedSandbox, ...errors },
      },
    },
    async (request) => destroySandbox(state, request.params.sandbox, request.query),
  )
  app.get(
    '/v1/sandboxes/:sandbox/stats',
    {
      schema: {
        operationId: 'sandboxStats',
        params: SandboxParameter,
        response: { 200: SandboxStats, ...errors },
      },
    },
    async (request) => sandboxStats(state, request.params.sandbox),
  )
  app.post(
    '/v1/sandboxes/:sandbox/apply',
    {
      schema: {
        operationId: 'applyWorkspace',
        params: SandboxParameter,
        body: ApplyWorkspace,
        response: { 200: AppliedChanges, ...errors },
      },
    },
    async (request) => applyWorkspace(state, request.params.sandbox, request.body),
  )
}
