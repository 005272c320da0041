import { type Static, Type } from 'typebox'

export const PROTOCOL_VERSION = 1

export const ErrorBody = Type.Object({
  error: Type.Object({
    code: Type.String(),
    message: Type.String(),
    remedy: Type.String(),
    details: Type.Record(Type.String(), Type.Unknown()),
  }),
})
export type ErrorBody = Static<typeof ErrorBody>

export const DaemonInfo = Type.Object({
  version: Type.String(),
  protocol: Type.Integer(),
  pid: Type.Integer(),
  url: Type.String(),
  dataDir: Type.String(),
  startedAt: Type.String(),
  sandboxes: Type.Integer({ description: 'How many are running.' }),
})
export type DaemonInfo = Static<typeof DaemonInfo>

export const Check = Type.Object({
  name: Type.String(),
  ok: Type.Boolean(),
  required: Type.Optional(
    Type.Boolean({ description: 'false: DeltaBox works without it, less well. Default: true.' }),
  ),
  detail: Type.String(),
})
export const DoctorReport = Type.Object({ ok: Type.Boolean(), checks: Type.Array(Check) })
export type DoctorReport = Static<typeof DoctorReport>

/** Sent on /v1/events, one JSON document per server-sent event; `type` is also the event’s name. */
export const DaemonEvent = Type.Object({
  type: Type.Union([
    Type.Literal('sandbox.created'),
    Type.Literal('sandbox.removed'),
    Type.Literal('sandbox.dead'),
    Type.Literal('sandbox.renamed'),
    Type.Literal('sandbox.disk-limit'),
    Type.Literal('sandbox.rolled-back'),
    Type.Literal('sandbox.forked'),
    Type.Literal('sandbox.promoted'),
    Type.Literal('checkpoint.created'),
    Type.Literal('checkpoint.ready'),
    Type.Literal('checkpoint.durable'),
    Type.Literal('checkpoint.failed'),
    Type.Literal('checkpoint.relabelled'),
    Type.Literal('checkpoint.removed'),
    Type.Literal('process.started'),
    Type.Literal('process.exited'),
  ]),
  at: Type.String(),
  sandbox: Type.String(),
  process: Type.Optional(Type.String()),
  checkpoint: Type.Optional(Type.String()),
  fork: Type.Optional(Type.String()),
  reason: Type.Optional(Type.String()),
})
export type DaemonEvent = Static<typeof DaemonEvent>
