import { type Static, Type } from 'typebox'
import { CheckpointLabel } from './checkpoints.js'
import { EnvVars, NetMode } from './sandboxes.js'

export const MANIFEST_FORMAT = 1

const Id = Type.String({ pattern: '^[a-z0-9-]{1,40}$' })
const CheckpointId = Type.String({ pattern: '^cp-[a-z2-7]{10}$' })
const SandboxId = Type.String({ pattern: '^sb-[a-z2-7]{10}$' })
/** Sums of them are still numbers, however many there are. */
const Count = Type.Integer({ minimum: 0, maximum: 2 ** 44 })
/** Milliseconds that `Date` knows. */
const Time = Type.Integer({ minimum: 0, maximum: 8.64e15 })
const Path = Type.String({ pattern: '^/[^\\u0000]*$', maxLength: 4095 })
const Text = Type.String({ pattern: '^[^\\u0000]*$' })
/** Shown to people. */
const Line = Type.String({ pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f]*$', maxLength: 200 })

function orNull<T extends Type.TSchema>(type: T): Type.TUnion<[T, Type.TNull]> {
  return Type.Union([type, Type.Null()])
}

const Setup = Type.Object({
  base: Path,
  workspace: orNull(Path),
  hostname: Type.String({ pattern: '^[A-Za-z0-9]([A-Za-z0-9._-]{0,62})$' }),
  masks: Type.Array(Path),
  net: NetMode,
  cwd: Path,
  env: EnvVars,
  memoryBytes: orNull(Count),
  cpus: orNull(Type.Number({ exclusiveMinimum: 0 })),
  pids: orNull(Count),
  diskBytes: orNull(Count),
  since: Time,
})

/** What an exported file tells of the states in it. What stands on others follows them, in each list. */
export const Manifest = Type.Object({
  format: Type.Literal(MANIFEST_FORMAT),
  checkpoint: CheckpointId,
  host: Type.Object({ machine: Line, system: Line }),
  setup: Setup,
  layers: Type.Array(Type.Object({ id: Id, parent: orNull(Id), bytes: orNull(Count), files: orNull(Count) })),
  /** Each has the name of the checkpoint that it was taken for. */
  images: Type.Array(Type.Object({ id: CheckpointId, needs: Type.Array(CheckpointId) })),
  checkpoints: Type.Array(
    Type.Object({
      id: CheckpointId,
      sandbox: SandboxId,
      parent: orNull(CheckpointId),
      layer: orNull(Id),
      label: orNull(CheckpointLabel),
      unchanged: Type.Boolean(),
      blockingUsec: Count,
      processes: Count,
      files: Count,
      fileBytes: orNull(Count),
      memoryBytes: Count,
      image: orNull(CheckpointId),
      createdAt: Time,
    }),
    { minItems: 1 },
  ),
  /** Started through the API, and running at a checkpoint. */
  commands: Type.Array(
    Type.Object({
      checkpoint: CheckpointId,
      id: Type.String({ pattern: '^p-[a-z2-7]{8}$' }),
      pid: orNull(Count),
      command: Type.Array(Text, { minItems: 1 }),
      tty: Type.Boolean(),
      waitsForReader: Type.Boolean(),
      deadline: orNull(Time),
      startedAt: Time,
    }),
  ),
})
export type Manifest = Static<typeof Manifest>
