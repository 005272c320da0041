/** Any endpoint that speaks OpenAI's chat completions, through a client of the package `openai`, which the user brings. */
import type { Model, ModelAnswer, ModelRequest } from './model.js'

type Completion = {
  readonly choices: readonly {
    readonly finish_reason: string | null
    readonly message: { readonly content?: string | null; readonly refusal?: string | null }
  }[]
  readonly usage?: { readonly prompt_tokens: number; readonly completion_tokens: number } | null | undefined
}

type Body = {
  model: string
  messages: { role: 'system' | 'user' | 'assistant'; content: string }[]
  max_tokens?: number
  temperature?: number
  stop?: string[]
}

/** As much of the client as is called. */
export interface OpenAiClient {
  readonly chat: {
    readonly completions: {
      create(body: Body, options: { signal?: AbortSignal | undefined }): PromiseLike<Completion>
    }
  }
}

export interface OpenAiOptions {
  /** `new OpenAI({ baseURL, apiKey })`: it knows where the endpoint is, how long to wait and how often to try again. */
  readonly client: OpenAiClient
  readonly model: string
  /** More parameters of each request, by the names of the API: `{ max_completion_tokens: 500, seed: 1 }`. */
  readonly body?: Readonly<Record<string, unknown>>
}

export function openAi({ client, model, body }: OpenAiOptions): Model {
  return {
    async complete(request) {
      const started = performance.now()
      const completion = await client.chat.completions.create(
        { ...toBody(model, request), ...body },
        { signal: request.signal },
      )
      return toAnswer(model, completion, performance.now() - started)
    },
  }
}

function toBody(model: string, { system, messages, maxTokens, temperature, stop }: ModelRequest): Body {
  return {
    model,
    messages: [
      ...(system === undefined ? [] : [{ role: 'system' as const, content: system }]),
      ...messages.map(({ role, content }) => ({ role, content })),
    ],
    ...(maxTokens !== undefined && { max_tokens: maxTokens }),
    ...(temperature !== undefined && { temperature }),
    ...(stop && { stop: [...stop] }),
  }
}

function toAnswer(model: string, completion: Completion, ms: number): ModelAnswer {
  const choice = completion.choices?.[0]
  const text = choice?.message?.content
  if (typeof text !== 'string') {
    throw new Error(`${model} gave no text: ${choice?.message?.refusal ?? JSON.stringify(completion)}`)
  }
  const { prompt_tokens: inputTokens = 0, completion_tokens: outputTokens = 0 } = completion.usage ?? {}
  return { text, truncated: choice?.finish_reason === 'length', usage: { inputTokens, outputTokens }, ms }
}
