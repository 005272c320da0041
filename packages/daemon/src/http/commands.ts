import { addAbortSignal } from 'node:stream'
import {
  OUTPUT_CONTENT_TYPE,
  OutputQuery,
  ProcessInfo,
  ProcessList,
  SignalProcess,
  StartCommand,
  StdinQuery,
  TtySize,
} from '@deltabox/protocol'
import { openOutput } from '../state/output-stream.js'
import { getProcess, listProcesses, resizeProcess, signalProcess, startProcess } from '../state/processes.js'
import type { State } from '../state/state.js'
import { writeStdin } from '../state/stdin.js'
import { bodyStream, takeRawBodies } from './raw-body.js'
import { Bytes, errors, Nothing, ProcessParameter, SandboxParameter } from './schemas.js'
import type { App } from './server.js'

export function commandRoutes(app: App, state: State): void {
  const commands = '/v1/sandboxes/:sandbox/commands'
  app.post(
    commands,
    {
      schema: {
        operationId: 'startCommand',
        params: SandboxParameter,
        body: StartCommand,
        response: { 201: ProcessInfo, ...errors },
      },
    },
    async (request, reply) =>
      reply.status(201).send(await startProcess(state, request.params.sandbox, request.body)),
  )
  app.get(
    commands,
    {
      schema: {
        operationId: 'listCommands',
        params: SandboxParameter,
        response: { 200: ProcessList, ...errors },
      },
    },
    async (request) => listProcesses(state, request.params.sandbox),
  )
  app.get(
    `${commands}/:process`,
    {
      schema: {
        operationId: 'getCommand',
        params: ProcessParameter,
        response: { 200: ProcessInfo, ...errors },
      },
    },
    async (request) => getProcess(state, request.params.sandbox, request.params.process),
  )
  app.post(
    `${commands}/:process/signal`,
    {
      schema: {
        operationId: 'signalCommand',
        params: ProcessParameter,
        body: SignalProcess,
        response: { 200: Nothing, ...errors },
      },
    },
    async ({ params, body }) => {
      await signalProcess(state, params.sandbox, params.process, body.signal ?? 'SIGKILL')
      return {}
    },
  )
  app.post(
    `${commands}/:process/resize`,
    {
      schema: {
        operationId: 'resizeCommand',
        params: ProcessParameter,
        body: TtySize,
        response: { 200: Nothing, ...errors },
      },
    },
    async ({ params, body }) => {
      await resizeProcess(state, params.sandbox, params.process, body)
      return {}
    },
  )
  outputRoute(app, state, `${commands}/:process/output`)
  app.register((raw, _options, done) => {
    stdinRoute(takeRawBodies(raw), state, `${commands}/:process/stdin`)
    done()
  })
}

function outputRoute(app: App, state: State, url: string): void {
  app.get(
    url,
    {
      schema: {
        operationId: 'readOutput',
        params: ProcessParameter,
        querystring: OutputQuery,
        response: { 200: { content: { [OUTPUT_CONTENT_TYPE]: { schema: Bytes } } }, ...errors },
      },
    },
    async ({ params, query }, reply) => {
      const body = openOutput(state, params.sandbox, params.process, query)
      addAbortSignal(state.stopping.signal, body)
      // A client has to know that it is attached before there is any output.
      reply.raw.once('pipe', () => reply.raw.flushHeaders())
      return reply.type(OUTPUT_CONTENT_TYPE).send(body)
    },
  )
}

function stdinRoute(app: App, state: State, url: string): void {
  app.post(
    url,
    {
      schema: {
        operationId: 'writeStdin',
        params: ProcessParameter,
        querystring: StdinQuery,
        response: { 200: Nothing, ...errors },
      },
    },
    async (request) => {
      const { params, query } = request
      await writeStdin(state, params.sandbox, params.process, bodyStream(request), query.close === true)
      return {}
    },
  )
}
