import { type Static, Type } from 'typebox'

const rules = {
  keepLast: Type.Optional(Type.Integer({ minimum: 0, description: 'The latest so many.' })),
  keepLabelled: Type.Optional(
    Type.Boolean({ description: 'Those with a label. It is no rule by itself. Default: true.' }),
  ),
  keepNewerThanMs: Type.Optional(
    Type.Integer({ minimum: 0, description: 'Those taken less than so many milliseconds ago.' }),
  ),
  keep: Type.Optional(
    Type.Array(Type.String({ minLength: 1 }), { description: 'These, by their ids; may be none.' }),
  ),
}

/** What stays. A checkpoint that no rule keeps goes, unless a sandbox stands on it. */
export const RetentionRules = Type.Object(rules, { additionalProperties: false })
export type RetentionRules = Static<typeof RetentionRules>

export const PruneCheckpoints = Type.Object(
  {
    ...rules,
    family: Type.Optional(
      Type.Boolean({
        description:
          'Those taken of any sandbox of its family, `keepLast` counting all of them. Default: false, those taken of it.',
      }),
    ),
    dryRun: Type.Optional(Type.Boolean({ description: 'Only tell what would go. Default: false.' })),
  },
  { additionalProperties: false },
)
export type PruneCheckpoints = Static<typeof PruneCheckpoints>

export const FreedBytes = Type.Object({
  files: Type.Integer({ description: 'Of layers that nothing needs any more, as far as they are measured.' }),
  memory: Type.Integer({
    description: 'Of images that go out of memory. Pages that a younger image shares stay with that one.',
  }),
  disk: Type.Integer({
    description:
      'Of the files of images in which no other has pages. One that is being brought to disk may come to have some.',
  }),
})
export type FreedBytes = Static<typeof FreedBytes>

export const Pruned = Type.Object({
  removed: Type.Array(Type.String(), {
    description: 'Oldest first, with those that only forks needed, which no list tells of.',
  }),
  kept: Type.Integer({ description: 'How many are left of those the rules were applied to.' }),
  freedBytes: FreedBytes,
})
export type Pruned = Static<typeof Pruned>

export const SetRetention = Type.Union([RetentionRules, Type.Null()], {
  description: 'null: checkpoints stay until they are removed.',
})
export type SetRetention = Static<typeof SetRetention>

export const Retention = Type.Object({ retention: SetRetention })
export type Retention = Static<typeof Retention>
