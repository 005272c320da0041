import { type Static, Type } from 'typebox'

/** Absolute, or relative to the sandbox’s working directory. */
export const SandboxPath = Type.String({ minLength: 1, maxLength: 4096, pattern: '^[^\\u0000]+$' })

export const FileType = Type.Union([
  Type.Literal('file'),
  Type.Literal('directory'),
  Type.Literal('symlink'),
  Type.Literal('fifo'),
  Type.Literal('socket'),
  Type.Literal('device'),
])

export const FileStat = Type.Object({
  type: FileType,
  size: Type.Integer(),
  mode: Type.Integer({ description: 'Permission bits.' }),
  uid: Type.Integer(),
  gid: Type.Integer(),
  mtimeMs: Type.Number(),
  target: Type.Optional(Type.String({ description: 'Of a symlink.' })),
})
export type FileStat = Static<typeof FileStat>

export const FileEntry = Type.Interface([FileStat], { name: Type.String() })
export type FileEntry = Static<typeof FileEntry>

export const FileList = Type.Object({ entries: Type.Array(FileEntry) })
export type FileList = Static<typeof FileList>

export const PathQuery = Type.Object({ path: SandboxPath }, { additionalProperties: false })
export type PathQuery = Static<typeof PathQuery>

export const StatQuery = Type.Object(
  { path: SandboxPath, follow: Type.Optional(Type.Boolean({ description: 'Default: false.' })) },
  { additionalProperties: false },
)
export type StatQuery = Static<typeof StatQuery>

export const WriteQuery = Type.Object(
  {
    path: SandboxPath,
    mode: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 0o7777,
        description: 'Set on the file. Default: 0644 for a new file.',
      }),
    ),
    append: Type.Optional(Type.Boolean()),
  },
  { additionalProperties: false },
)
export type WriteQuery = Static<typeof WriteQuery>

export const RemoveQuery = Type.Object(
  { path: SandboxPath, recursive: Type.Optional(Type.Boolean()) },
  { additionalProperties: false },
)
export type RemoveQuery = Static<typeof RemoveQuery>

export const MakeDirectory = Type.Object(
  {
    path: SandboxPath,
    parents: Type.Optional(
      Type.Boolean({ description: 'Make missing parents; no error when it exists. Default: true.' }),
    ),
    mode: Type.Optional(Type.Integer({ minimum: 0, maximum: 0o7777 })),
  },
  { additionalProperties: false },
)
export type MakeDirectory = Static<typeof MakeDirectory>

export const RenamePath = Type.Object({ from: SandboxPath, to: SandboxPath }, { additionalProperties: false })
export type RenamePath = Static<typeof RenamePath>

export const MakeSymlink = Type.Object(
  { path: SandboxPath, target: Type.String({ minLength: 1, maxLength: 4095, pattern: '^[^\\u0000]+$' }) },
  { additionalProperties: false },
)
export type MakeSymlink = Static<typeof MakeSymlink>
