import { type Static, Type } from 'typebox'
import { CheckpointInfo } from './checkpoints.js'

/** What of this host the states in an exported file may use. Nothing but the host's own file system is agreed to unasked. */
export const ImportQuery = Type.Object(
  {
    base: Type.Optional(
      Type.String({
        minLength: 1,
        description:
          'A directory of this host with the file system they stand on. Default: the host’s own, where they stand on that.',
      }),
    ),
    workspace: Type.Optional(
      Type.String({
        minLength: 1,
        description: 'The workspace they have, which must be at the same path here. Default: none.',
      }),
    ),
    net: Type.Optional(
      Type.Union([Type.Literal('none'), Type.Literal('host')], {
        description: 'The network they may have. Default: none.',
      }),
    ),
  },
  { additionalProperties: false },
)
export type ImportQuery = Static<typeof ImportQuery>

export const Imported = Type.Object({
  checkpoint: CheckpointInfo,
  checkpoints: Type.Integer({ description: 'How many came, with those it descends from.' }),
  renamed: Type.Array(Type.Object({ from: Type.String(), id: Type.String() }), {
    description: 'Those whose ids in the file are taken here.',
  }),
  warnings: Type.Array(Type.String(), { description: 'What may be different here.' }),
  ms: Type.Number(),
})
export type Imported = Static<typeof Imported>
