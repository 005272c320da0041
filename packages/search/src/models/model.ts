import type { StepContext } from '../options.js'

export interface Message {
  readonly role: 'user' | 'assistant'
  readonly content: string
}

export interface ModelRequest {
  readonly system?: string
  readonly messages: readonly Message[]
  /** Most tokens of the answer. Default: the endpoint's, or 4096 where it has none. */
  readonly maxTokens?: number
  /** Default: the endpoint's. */
  readonly temperature?: number
  /** What ends the answer when it comes up; it is not part of it. */
  readonly stop?: readonly string[]
  readonly signal?: AbortSignal | undefined
}

export interface ModelUsage {
  readonly inputTokens: number
  readonly outputTokens: number
}

export interface ModelAnswer {
  readonly text: string
  /** `maxTokens` or the model's own limit ended it. */
  readonly truncated: boolean
  /** Zeros where the endpoint does not tell. */
  readonly usage: ModelUsage
  /** How long it was waited for, with what was tried again. */
  readonly ms: number
}

/** Something that answers. Limits of rate and faults of the endpoint are tried again by what it is made of, not by who asks. */
export interface Model {
  complete(request: ModelRequest): Promise<ModelAnswer>
}

/** The same model, which a step asks: its tokens and time are counted with the node, and it is given up when the step is. */
export function counted(
  model: Model,
  context: Pick<StepContext<unknown, unknown>, 'count' | 'signal'>,
): Model {
  return {
    async complete(request) {
      const answer = await model.complete({ signal: context.signal, ...request })
      context.count({ ...answer.usage, modelMs: answer.ms })
      return answer
    },
  }
}
