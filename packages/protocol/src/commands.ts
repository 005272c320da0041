import { type Static, Type } from 'typebox'
import { EnvVars } from './sandboxes.js'

export const TtySize = Type.Object(
  {
    cols: Type.Integer({ minimum: 1, maximum: 65535 }),
    rows: Type.Integer({ minimum: 1, maximum: 65535 }),
  },
  { additionalProperties: false },
)
export type TtySize = Static<typeof TtySize>

const Argument = Type.String({ pattern: '^[^\\u0000]*$' })

export const StartCommand = Type.Object(
  {
    command: Type.Union([Type.String({ minLength: 1 }), Type.Array(Argument, { minItems: 1 })], {
      description: 'A list is executed as it is; a string is given to `/bin/sh -c`.',
    }),
    cwd: Type.Optional(Type.String({ minLength: 1 })),
    env: Type.Optional(EnvVars),
    user: Type.Optional(
      Type.String({
        minLength: 1,
        description: 'A name from the sandbox’s passwd, or `uid[:gid]`. Default: root.',
      }),
    ),
    tty: Type.Optional(TtySize),
    stdin: Type.Optional(
      Type.Boolean({ description: 'Keep standard input open for POST …/stdin. Default: false.' }),
    ),
    detached: Type.Optional(
      Type.Boolean({
        description:
          'Output is kept for later (the last 4 MiB of each stream) and never holds the command up. Default: false, where the command waits for its reader.',
      }),
    ),
    timeoutMs: Type.Optional(Type.Integer({ minimum: 1 })),
  },
  { additionalProperties: false },
)
export type StartCommand = Static<typeof StartCommand>

export const ProcessInfo = Type.Object({
  process: Type.String({ description: 'The id that API calls take.' }),
  pid: Type.Integer({ description: 'The process id inside the sandbox.' }),
  command: Type.Array(Type.String()),
  state: Type.Union([Type.Literal('running'), Type.Literal('exited'), Type.Literal('lost')]),
  tty: Type.Boolean(),
  /** Set once the state is `exited`: one of the two. */
  exitCode: Type.Union([Type.Integer(), Type.Null()]),
  signal: Type.Union([Type.String(), Type.Null()]),
  timedOut: Type.Boolean(),
  oomKilled: Type.Boolean(),
  diskKilled: Type.Boolean({ description: 'Killed because the sandbox was over its disk limit.' }),
  startedAt: Type.String(),
  endedAt: Type.Union([Type.String(), Type.Null()]),
})
export type ProcessInfo = Static<typeof ProcessInfo>

export const ProcessList = Type.Object({ processes: Type.Array(ProcessInfo) })
export type ProcessList = Static<typeof ProcessList>

export const OutputQuery = Type.Object(
  {
    stdout: Type.Optional(
      Type.Integer({
        minimum: 0,
        description: 'Offset in bytes to start at. Default: 0, or the oldest kept.',
      }),
    ),
    stderr: Type.Optional(Type.Integer({ minimum: 0 })),
    follow: Type.Optional(Type.Boolean({ description: 'Stay until the process ended. Default: true.' })),
    attach: Type.Optional(
      Type.Boolean({
        description:
          'This reader is the command’s client: what it was sent need not be kept. Default: false.',
      }),
    ),
  },
  { additionalProperties: false },
)
export type OutputQuery = Static<typeof OutputQuery>

export const SignalProcess = Type.Object(
  { signal: Type.Optional(Type.String({ pattern: '^SIG[A-Z0-9]+$', description: 'Default: SIGKILL.' })) },
  { additionalProperties: false },
)
export type SignalProcess = Static<typeof SignalProcess>

export const StdinQuery = Type.Object(
  {
    close: Type.Optional(
      Type.Boolean({ description: 'Close standard input after the body. Default: false.' }),
    ),
  },
  { additionalProperties: false },
)
export type StdinQuery = Static<typeof StdinQuery>
