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

export const CheckStore = Type.Object(
  {
    repair: Type.Optional(
      Type.Boolean({
        description: 'Repair what can be; nothing that a checkpoint needs is removed. Default: false.',
      }),
    ),
  },
  { additionalProperties: false },
)
export type CheckStore = Static<typeof CheckStore>

/** What of the data directory is not as it was left. */
export const StoreProblemKind = Type.Union([
  Type.Literal('layer_missing'),
  Type.Literal('layer_record_missing'),
  Type.Literal('layer_record_wrong'),
  Type.Literal('layer_parent_missing'),
  Type.Literal('layer_circle'),
  Type.Literal('checkpoint_parent_missing'),
  Type.Literal('checkpoint_layer_missing'),
  Type.Literal('checkpoint_image_missing'),
  Type.Literal('image_missing'),
  Type.Literal('image_damaged'),
  Type.Literal('image_unreadable'),
  Type.Literal('image_need_missing'),
  Type.Literal('image_row_missing'),
  Type.Literal('image_record_missing'),
  Type.Literal('image_record_wrong'),
  Type.Literal('image_unneeded'),
  Type.Literal('need_without_image'),
  Type.Literal('hold_without_layer'),
  Type.Literal('family_gone'),
  Type.Literal('sandbox_head_missing'),
  Type.Literal('stray'),
])
export type StoreProblemKind = Static<typeof StoreProblemKind>

export const StoreProblem = Type.Object({
  check: Type.String({ description: 'The check that found it.' }),
  kind: StoreProblemKind,
  family: Type.String(),
  object: Type.String({ description: 'The id of the layer, checkpoint, image or sandbox, or a path.' }),
  checkpoints: Type.Array(Type.String(), {
    description: 'Those that cannot be gone back to, or not with their processes, because of it.',
  }),
  detail: Type.String(),
  repaired: Type.Boolean(),
})
export type StoreProblem = Static<typeof StoreProblem>

/** `ok`: nothing is wrong, or all that was is repaired. */
export const StoreReport = Type.Object({
  ok: Type.Boolean(),
  checks: Type.Array(Check),
  problems: Type.Array(StoreProblem),
})
export type StoreReport = Static<typeof StoreReport>

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
