import { type Static, Type } from 'typebox'
import { FileType } from './files.js'
import { SandboxInfo, type SandboxState } from './sandboxes.js'
import { ErrorBody } from './system.js'

/** Shown to people and not interpreted. */
export const CheckpointLabel = Type.String({ minLength: 1, maxLength: 200, pattern: '^[^\\u0000]+$' })

export const CreateCheckpoint = Type.Object(
  {
    label: Type.Optional(CheckpointLabel),
    disk: Type.Optional(
      Type.Boolean({
        description: 'Let the images of processes reach the disk; files always do. Default: true.',
      }),
    ),
  },
  { additionalProperties: false },
)
export type CreateCheckpoint = Static<typeof CreateCheckpoint>

export const CheckpointState = Type.Union(
  [Type.Literal('pending'), Type.Literal('ready'), Type.Literal('durable'), Type.Literal('failed')],
  {
    description:
      '`pending`: its processes are being kept; a rollback waits for that. `ready`: it can be gone back to. `durable`: it is on disk and outlives a power cut. `failed`: its processes could not be kept, were lost with their engine before they were on disk, or their file is not what was written.',
  },
)
export type CheckpointState = Static<typeof CheckpointState>

export const CheckpointInfo = Type.Object({
  id: Type.String({ description: '`cp-…`' }),
  sandbox: Type.String({ description: 'The id of the sandbox it was taken of, which may be gone.' }),
  parent: Type.Union([Type.String(), Type.Null()], {
    description: 'The checkpoint the sandbox stood on; null where that was the base.',
  }),
  label: Type.Union([CheckpointLabel, Type.Null()]),
  createdAt: Type.String({ description: 'ISO 8601.' }),
  unchanged: Type.Boolean({ description: 'Nothing was written since the parent: it shares its state.' }),
  blockingMs: Type.Number({ description: 'How long the sandbox’s processes stood still.' }),
  processes: Type.Integer({ description: 'How many ran; they are part of the state.' }),
  lost: Type.Integer({
    description:
      'How many of them can no longer be brought back, because the engine that held them has ended: a rollback or fork then has the files alone. 0 or all.',
  }),
  state: CheckpointState,
  reason: Type.Optional(Type.String({ description: 'Why it failed, or is not on disk yet.' })),
  inMemory: Type.Boolean({ description: 'Its processes are in memory: a rollback need not read them.' }),
  imageBytes: Type.Union([Type.Integer(), Type.Null()], {
    description:
      'Bytes on disk of what its processes had changed since the state before; null while they are not there.',
  }),
  files: Type.Integer({ description: 'How many open files were moved to the new layer.' }),
  memoryBytes: Type.Integer({ description: 'Bytes of process memory that were copied for it.' }),
  fileBytes: Type.Union([Type.Integer(), Type.Null()], {
    description:
      'Bytes of the layer that holds what was written since the parent; null until it is measured.',
  }),
  depth: Type.Integer({ description: 'How many layers lie above the base in it.' }),
  timings: Type.Optional(
    Type.Record(Type.String(), Type.Number(), {
      description: 'Milliseconds per step; only in the reply to its creation.',
    }),
  ),
})
export type CheckpointInfo = Static<typeof CheckpointInfo>

export const Prefetched = Type.Object({
  checkpoint: Type.String(),
  source: Type.Union([Type.Literal('template'), Type.Literal('image'), Type.Null()], {
    description:
      'Whether its processes were in memory already or were read from disk; null where there are none to be had.',
  }),
  ms: Type.Number(),
})
export type Prefetched = Static<typeof Prefetched>

export const CheckpointList = Type.Object({ checkpoints: Type.Array(CheckpointInfo) })
export type CheckpointList = Static<typeof CheckpointList>

export const RelabelCheckpoint = Type.Object(
  { label: Type.Union([CheckpointLabel, Type.Null()]) },
  { additionalProperties: false },
)
export type RelabelCheckpoint = Static<typeof RelabelCheckpoint>

export const RollbackSandbox = Type.Object(
  { checkpoint: Type.String({ minLength: 1 }) },
  { additionalProperties: false },
)
export type RollbackSandbox = Static<typeof RollbackSandbox>

export const RolledBack = Type.Object({
  sandbox: Type.String(),
  checkpoint: Type.String(),
  ms: Type.Number({ description: 'Milliseconds from request to a sandbox that takes commands.' }),
  source: Type.Union([Type.Literal('template'), Type.Literal('image')], {
    description: 'What the state was made from: one kept in memory, or the disk.',
  }),
  stopped: Type.Integer({ description: 'How many processes ran before; all of them were ended.' }),
  processes: Type.Integer({ description: 'How many run again, as they were at the checkpoint.' }),
  lost: Type.Integer({
    description:
      'How many the checkpoint had that cannot be brought back, because the engine that held them has ended.',
  }),
  timings: Type.Record(Type.String(), Type.Number(), { description: 'Milliseconds per step.' }),
})
export type RolledBack = Static<typeof RolledBack>

export const PromoteFork = Type.Object(
  {
    fork: Type.String({ minLength: 1, description: 'The sandbox whose state it takes, by id or name.' }),
    drop: Type.Optional(
      Type.Boolean({
        description:
          'Then remove the fork and its siblings: what was forked of the same sandbox at the same checkpoint. Checkpoints are kept. Default: false.',
      }),
    ),
  },
  { additionalProperties: false },
)
export type PromoteFork = Static<typeof PromoteFork>

export const Promoted = Type.Interface([RolledBack], {
  fork: Type.String({ description: 'The id of the sandbox whose state it took.' }),
  dropped: Type.Array(Type.String(), { description: 'The ids of the sandboxes that were removed.' }),
  notDropped: Type.Optional(
    Type.Array(ErrorBody, {
      description: 'Why others could not be removed; `details.sandbox` tells which. Absent where all were.',
    }),
  ),
})
export type Promoted = Static<typeof Promoted>

export const FORK_MAX_COUNT = 256

export const Fork = Type.Object(
  {
    count: Type.Optional(
      Type.Integer({ minimum: 1, maximum: FORK_MAX_COUNT, description: 'How many sandboxes. Default: 1.' }),
    ),
    name: Type.Optional(
      Type.String({
        pattern: '^(?!sb-|cp-)[A-Za-z0-9][A-Za-z0-9._-]{0,58}$',
        description:
          'They are called `NAME-1` and so on, so that they are known even if the answer is lost. Default: no names.',
      }),
    ),
    partial: Type.Optional(
      Type.Boolean({
        description: 'Keep those that could be made and tell of each other its error. Default: false.',
      }),
    ),
  },
  { additionalProperties: false },
)
export type Fork = Static<typeof Fork>

export const Forked = Type.Object({
  sandboxes: Type.Array(Type.Union([SandboxInfo, ErrorBody]), {
    description: 'As many as were asked for; an error only where `partial` was.',
  }),
  lost: Type.Integer({
    description:
      'How many processes the state had that cannot be brought back, because the engine that held them has ended.',
  }),
  ms: Type.Number({ description: 'Milliseconds from request to sandboxes that all take commands.' }),
  timings: Type.Record(Type.String(), Type.Number(), {
    description: 'Milliseconds of the engine’s work by step, all sandboxes together.',
  }),
})
export type Forked = Static<typeof Forked>

/** A state of a family’s files: a sandbox’s as it is now, a checkpoint’s, or what all of the family started from. */
export const StateReference = Type.String({
  minLength: 1,
  description: 'The id or name of a sandbox, the id of a checkpoint, or `base`.',
})

export const DiffQuery = Type.Object(
  { from: Type.Optional(StateReference), to: StateReference },
  { additionalProperties: false, description: '`from` defaults to `base`.' },
)
export type DiffQuery = Static<typeof DiffQuery>

export const SandboxDiffQuery = Type.Object(
  { from: Type.Optional(StateReference) },
  { additionalProperties: false, description: '`from` defaults to `base`.' },
)
export type SandboxDiffQuery = Static<typeof SandboxDiffQuery>

const FileFacts = Type.Object({
  type: FileType,
  mode: Type.Integer({ description: 'Permission bits.' }),
  uid: Type.Integer(),
  gid: Type.Integer(),
  size: Type.Integer(),
})

export const FileChange = Type.Object({
  kind: Type.Union([Type.Literal('A'), Type.Literal('M'), Type.Literal('D')], {
    description: 'Added, modified (content, metadata or type), deleted.',
  }),
  path: Type.String({ description: 'Absolute, inside the sandbox.' }),
  type: FileType,
  mode: Type.Optional(Type.Integer()),
  uid: Type.Optional(Type.Integer()),
  gid: Type.Optional(Type.Integer()),
  size: Type.Optional(Type.Integer()),
  before: Type.Optional(FileFacts),
})
export type FileChange = Static<typeof FileChange>

export const Diff = Type.Object({
  from: Type.String({ description: 'An id, or `base`.' }),
  to: Type.String({ description: 'An id, or `base`.' }),
  changes: Type.Array(FileChange, {
    description:
      'Sorted by path. `type` and what follows tell what is there now; of a deleted path `type` is what it was and the rest is in `before`.',
  }),
})
export type Diff = Static<typeof Diff>

export const TreeQuery = Type.Object(
  { sandbox: Type.Optional(Type.String({ description: 'Only the family of this sandbox.' })) },
  { additionalProperties: false },
)
export type TreeQuery = Static<typeof TreeQuery>

/** A live sandbox, under the checkpoint it stands on. */
export interface SandboxNode {
  kind: 'sandbox'
  id: string
  name: string | null
  state: Static<typeof SandboxState>
}

export interface CheckpointNode {
  kind: 'checkpoint'
  id: string
  label: string | null
  createdAt: string
  children: (CheckpointNode | SandboxNode)[]
}

/** A schema that refers to itself is nothing OpenAPI’s readers agree on: this one names the fields of all nodes. */
const TreeNode = Type.Unsafe<CheckpointNode | SandboxNode>({
  type: 'object',
  description:
    'A checkpoint (`kind: "checkpoint"`: id, label, createdAt, children, which are nodes like this) or a sandbox that stands on its parent node (`kind: "sandbox"`: id, name, state).',
  properties: { kind: { type: 'string', enum: ['checkpoint', 'sandbox'] }, id: { type: 'string' } },
  required: ['kind', 'id'],
  additionalProperties: true,
})

export const BaseNode = Type.Object({
  kind: Type.Literal('base'),
  base: Type.String(),
  workspace: Type.Union([Type.String(), Type.Null()]),
  children: Type.Array(TreeNode),
})
export type BaseNode = Static<typeof BaseNode>

export const Tree = Type.Object({
  roots: Type.Array(BaseNode, { description: 'One per family: a first sandbox and all that came from it.' }),
})
export type Tree = Static<typeof Tree>
