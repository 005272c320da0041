import {
  CheckpointInfo,
  CheckpointList,
  CreateCheckpoint,
  Diff,
  DiffQuery,
  Fork,
  Forked,
  Prefetched,
  Promoted,
  PromoteFork,
  RelabelCheckpoint,
  RollbackSandbox,
  RolledBack,
  SandboxDiffQuery,
  Tree,
  TreeQuery,
} from '@deltabox/protocol'
import { checkpointSandbox } from '../state/checkpoint.js'
import {
  getCheckpoint,
  listCheckpoints,
  prefetchCheckpoint,
  relabelCheckpoint,
  removeCheckpoint,
} from '../state/checkpoints.js'
import { diffStates } from '../state/diff.js'
import { forkCheckpoint, forkSandbox } from '../state/fork.js'
import { promoteFork } from '../state/promote.js'
import { rollbackSandbox } from '../state/rollback.js'
import type { State } from '../state/state.js'
import { checkpointTree } from '../state/tree.js'
import { CheckpointParameter, errors, NoContent, SandboxParameter } from './schemas.js'
import type { App } from './server.js'

export function checkpointRoutes(app: App, state: State): void {
  ofSandbox(app, state)
  movesOfSandbox(app, state)
  ofCheckpoint(app, state)
  ofStates(app, state)
}

function ofSandbox(app: App, state: State): void {
  const sandbox = '/v1/sandboxes/:sandbox'
  const params = SandboxParameter
  app.post(
    `${sandbox}/checkpoints`,
    {
      schema: {
        operationId: 'createCheckpoint',
        params,
        body: CreateCheckpoint,
        response: { 201: CheckpointInfo, ...errors },
      },
    },
    async (request, reply) =>
      reply.status(201).send(await checkpointSandbox(state, request.params.sandbox, request.body)),
  )
  app.get(
    `${sandbox}/checkpoints`,
    { schema: { operationId: 'listCheckpoints', params, response: { 200: CheckpointList, ...errors } } },
    async (request) => listCheckpoints(state, request.params.sandbox),
  )
  app.get(
    `${sandbox}/diff`,
    {
      schema: {
        operationId: 'diffSandbox',
        params,
        querystring: SandboxDiffQuery,
        response: { 200: Diff, ...errors },
      },
    },
    async (request) => diffStates(state, { ...request.query, to: request.params.sandbox }),
  )
}

function movesOfSandbox(app: App, state: State): void {
  const sandbox = '/v1/sandboxes/:sandbox'
  const params = SandboxParameter
  app.post(
    `${sandbox}/rollback`,
    {
      schema: {
        operationId: 'rollbackSandbox',
        params,
        body: RollbackSandbox,
        response: { 200: RolledBack, ...errors },
      },
    },
    async (request) => rollbackSandbox(state, request.params.sandbox, request.body),
  )
  app.post(
    `${sandbox}/fork`,
    { schema: { operationId: 'forkSandbox', params, body: Fork, response: { 201: Forked, ...errors } } },
    async (request, reply) =>
      reply.status(201).send(await forkSandbox(state, request.params.sandbox, request.body)),
  )
  app.post(
    `${sandbox}/promote`,
    {
      schema: {
        operationId: 'promoteFork',
        params,
        body: PromoteFork,
        response: { 200: Promoted, ...errors },
      },
    },
    async (request) => promoteFork(state, request.params.sandbox, request.body),
  )
}

function ofCheckpoint(app: App, state: State): void {
  const checkpoint = '/v1/checkpoints/:checkpoint'
  const params = CheckpointParameter
  app.get(
    checkpoint,
    { schema: { operationId: 'getCheckpoint', params, response: { 200: CheckpointInfo, ...errors } } },
    async (request) => getCheckpoint(state, request.params.checkpoint),
  )
  app.patch(
    checkpoint,
    {
      schema: {
        operationId: 'relabelCheckpoint',
        params,
        body: RelabelCheckpoint,
        response: { 200: CheckpointInfo, ...errors },
      },
    },
    async (request) => relabelCheckpoint(state, request.params.checkpoint, request.body),
  )
  app.delete(
    checkpoint,
    { schema: { operationId: 'removeCheckpoint', params, response: { 204: NoContent, ...errors } } },
    async (request, reply) => {
      await removeCheckpoint(state, request.params.checkpoint)
      return reply.status(204).send(null)
    },
  )
  app.post(
    `${checkpoint}/prefetch`,
    { schema: { operationId: 'prefetchCheckpoint', params, response: { 200: Prefetched, ...errors } } },
    async (request) => prefetchCheckpoint(state, request.params.checkpoint),
  )
  app.post(
    `${checkpoint}/fork`,
    { schema: { operationId: 'forkCheckpoint', params, body: Fork, response: { 201: Forked, ...errors } } },
    async (request, reply) =>
      reply.status(201).send(await forkCheckpoint(state, request.params.checkpoint, request.body)),
  )
}

function ofStates(app: App, state: State): void {
  app.get(
    '/v1/diff',
    { schema: { operationId: 'diff', querystring: DiffQuery, response: { 200: Diff, ...errors } } },
    async (request) => diffStates(state, request.query),
  )
  app.get(
    '/v1/tree',
    { schema: { operationId: 'tree', querystring: TreeQuery, response: { 200: Tree, ...errors } } },
    async (request) => checkpointTree(state, request.query),
  )
}
