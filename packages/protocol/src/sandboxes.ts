import { type Static, Type } from 'typebox'
import { RetentionRules } from './retention.js'

/** Letters, digits, dot, dash and underscore. What means something else is no name: ids and `base`. */
export const SandboxName = Type.String({ pattern: '^(?!sb-|cp-|base$)[A-Za-z0-9][A-Za-z0-9._-]{0,62}$' })

export const EnvVars = Type.Record(
  Type.String({ pattern: '^[^=\\u0000]+$' }),
  Type.String({ pattern: '^[^\\u0000]*$' }),
  { additionalProperties: false },
)

export const NetMode = Type.Union([Type.Literal('none'), Type.Literal('host')])

export const CreateSandbox = Type.Object(
  {
    name: Type.Optional(SandboxName),
    base: Type.Optional(
      Type.String({
        description: 'Host directory with a root file system. Default: the host’s own, secrets masked.',
      }),
    ),
    workspace: Type.Optional(
      Type.String({ description: 'Host directory shown copy-on-write at the same path.' }),
    ),
    cwd: Type.Optional(
      Type.String({ description: 'Working directory of commands. Default: the workspace, else /root.' }),
    ),
    env: Type.Optional(EnvVars),
    memoryBytes: Type.Optional(
      Type.Integer({ minimum: 16 * 1024 * 1024, description: 'Default: half of the host’s memory.' }),
    ),
    cpus: Type.Optional(Type.Number({ exclusiveMinimum: 0, description: 'Default: no limit.' })),
    pids: Type.Optional(Type.Integer({ minimum: 1, description: 'Default: 2048.' })),
    diskBytes: Type.Optional(Type.Integer({ minimum: 1024 * 1024, description: 'Default: 10 GiB.' })),
    net: Type.Optional(NetMode),
    mask: Type.Optional(Type.Array(Type.String(), { description: 'More paths of the base to hide.' })),
  },
  { additionalProperties: false },
)
export type CreateSandbox = Static<typeof CreateSandbox>

export const SandboxState = Type.Union([Type.Literal('running'), Type.Literal('dead')])

export const SandboxInfo = Type.Object({
  id: Type.String(),
  name: Type.Union([Type.String(), Type.Null()]),
  state: SandboxState,
  /** Why it is dead. */
  reason: Type.Optional(Type.String()),
  base: Type.String(),
  workspace: Type.Union([Type.String(), Type.Null()]),
  cwd: Type.String(),
  net: NetMode,
  limits: Type.Object({
    memoryBytes: Type.Union([Type.Integer(), Type.Null()]),
    cpus: Type.Union([Type.Number(), Type.Null()]),
    pids: Type.Union([Type.Integer(), Type.Null()]),
    diskBytes: Type.Union([Type.Integer(), Type.Null()]),
  }),
  checkpoint: Type.Union([Type.String(), Type.Null()], {
    description:
      'The id of the one it stands on: last taken, rolled back to or forked from. null: on its base.',
  }),
  retention: Type.Optional(RetentionRules),
  createdAt: Type.String({ description: 'ISO 8601.' }),
})
export type SandboxInfo = Static<typeof SandboxInfo>

export const CreatedSandbox = Type.Interface([SandboxInfo], {
  createdMs: Type.Number({ description: 'Milliseconds from request to a sandbox that takes commands.' }),
  timings: Type.Record(Type.String(), Type.Number(), { description: 'Milliseconds per step.' }),
})
export type CreatedSandbox = Static<typeof CreatedSandbox>

export const SandboxList = Type.Object({ sandboxes: Type.Array(SandboxInfo) })
export type SandboxList = Static<typeof SandboxList>

export const RenameSandbox = Type.Object({ name: SandboxName }, { additionalProperties: false })
export type RenameSandbox = Static<typeof RenameSandbox>

export const RemoveSandboxQuery = Type.Object(
  {
    checkpoints: Type.Optional(
      Type.Boolean({
        description: 'Remove also those taken of it that nothing else needs. Default: false, all are kept.',
      }),
    ),
  },
  { additionalProperties: false },
)
export type RemoveSandboxQuery = Static<typeof RemoveSandboxQuery>

export const RemovedSandbox = Type.Object({
  checkpoints: Type.Integer({ description: 'How many of those taken of it are left.' }),
})
export type RemovedSandbox = Static<typeof RemovedSandbox>

export const SandboxStats = Type.Object({
  memoryBytes: Type.Optional(Type.Integer()),
  processes: Type.Optional(Type.Integer()),
  cpuUsec: Type.Optional(Type.Integer()),
  oomKills: Type.Optional(Type.Integer()),
  diskBytes: Type.Integer(),
})
export type SandboxStats = Static<typeof SandboxStats>

export const ApplyWorkspace = Type.Object(
  { dryRun: Type.Optional(Type.Boolean()) },
  { additionalProperties: false },
)
export type ApplyWorkspace = Static<typeof ApplyWorkspace>

export const Change = Type.Object({
  kind: Type.Union([Type.Literal('A'), Type.Literal('M'), Type.Literal('D')]),
  path: Type.String(),
})
export type Change = Static<typeof Change>

export const AppliedChanges = Type.Object({
  changes: Type.Array(Change),
  skipped: Type.Array(Type.Object({ path: Type.String(), type: Type.String() }), {
    description: 'New or changed pipes, sockets and devices: those stay in the sandbox.',
  }),
})
export type AppliedChanges = Static<typeof AppliedChanges>
