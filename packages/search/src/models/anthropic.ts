/** Any endpoint that speaks Anthropic's messages, through a client of the package `@anthropic-ai/sdk`, which the user brings. */
import type { Model, ModelAnswer, ModelRequest } from './model.js'

/** The API wants a number. */
const MAX_TOKENS = 4096

type Reply = {
  readonly content: readonly { readonly type: string }[]
  readonly stop_reason: string | null
  readonly usage: {
    readonly input_tokens: number
    readonly output_tokens: number
    readonly cache_creation_input_tokens: number | null
    readonly cache_read_input_tokens: number | null
  }
}

type Body = {
  model: string
  max_tokens: number
  messages: { role: 'user' | 'assistant'; content: string }[]
  system?: string
  temperature?: number
  stop_sequences?: string[]
}

/** As much of the client as is called. */
export interface AnthropicClient {
  readonly messages: {
    create(body: Body, options: { signal?: AbortSignal | undefined }): PromiseLike<Reply>
  }
}

export interface AnthropicOptions {
  /** `new Anthropic({ baseURL, apiKey })`: it knows where the endpoint is, how long to wait and how often to try again. */
  readonly client: AnthropicClient
  readonly model: string
  /** More parameters of each request, by the names of the API: `{ top_k: 5 }`. */
  readonly body?: Readonly<Record<string, unknown>>
}

export function anthropic({ client, model, body }: AnthropicOptions): Model {
  return {
    async complete(request) {
      const started = performance.now()
      const reply = await client.messages.create(
        { ...toBody(model, request), ...body },
        { signal: request.signal },
      )
      return toAnswer(model, reply, performance.now() - started)
    },
  }
}

function toBody(model: string, { system, messages, maxTokens, temperature, stop }: ModelRequest): Body {
  return {
    model,
    max_tokens: maxTokens ?? MAX_TOKENS,
    messages: messages.map(({ role, content }) => ({ role, content })),
    ...(system !== undefined && { system }),
    ...(temperature !== undefined && { temperature }),
    ...(stop && { stop_sequences: [...stop] }),
  }
}

function toAnswer(model: string, reply: Reply, ms: number): ModelAnswer {
  const texts = reply.content?.filter(isText) ?? []
  if (texts.length === 0) throw new Error(`${model} gave no text: ${JSON.stringify(reply)}`)
  return {
    text: texts.map(({ text }) => text).join(''),
    truncated: reply.stop_reason === 'max_tokens',
    usage: toUsage(reply.usage),
    ms,
  }
}

function isText(block: { readonly type: string }): block is { type: 'text'; text: string } {
  return block.type === 'text'
}

/** What is read from or written to the endpoint's cache is input too. */
function toUsage(usage: Partial<Reply['usage']> = {}): ModelAnswer['usage'] {
  const { input_tokens: plain, cache_creation_input_tokens: written, cache_read_input_tokens: read } = usage
  return {
    inputTokens: (plain ?? 0) + (written ?? 0) + (read ?? 0),
    outputTokens: usage.output_tokens ?? 0,
  }
}
