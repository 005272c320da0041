/** Pieces of route descriptions that belong to HTTP, not to the contract's types. */
import { ErrorBody } from '@deltabox/protocol'
import { type TNull, type TObject, type TString, type TUnsafe, Type } from 'typebox'

export const Nothing: TObject<Record<never, never>> = Type.Object({}, { additionalProperties: false })
export const NoContent: TNull = Type.Null()
export const Bytes: TUnsafe<unknown> = Type.Unsafe<unknown>({ type: 'string', format: 'binary' })
/** Sent as it comes, without a serializer. */
export const StreamedText: TUnsafe<unknown> = Type.Unsafe<unknown>({ type: 'string' })

export const SandboxParameter: TObject<{ sandbox: TString }> = Type.Object({ sandbox: Type.String() })
export const CheckpointParameter: TObject<{ checkpoint: TString }> = Type.Object({
  checkpoint: Type.String(),
})
export const ProcessParameter: TObject<{ sandbox: TString; process: TString }> = Type.Object({
  sandbox: Type.String(),
  process: Type.String(),
})

export const errors: { readonly '4xx': typeof ErrorBody; readonly '5xx': typeof ErrorBody } = {
  '4xx': ErrorBody,
  '5xx': ErrorBody,
}
