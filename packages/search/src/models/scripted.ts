/** A model that says what it is told to: for tests, and for trying a search without an endpoint. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Model, ModelAnswer, ModelRequest, ModelUsage } from './model.js'

export type ScriptedAnswer =
  | string
  | { readonly text: string; readonly truncated?: boolean; readonly usage?: Partial<ModelUsage> }

/** Answers in the order in which it is asked, or a function of what it is asked. */
export type Script =
  | readonly ScriptedAnswer[]
  | ((request: ModelRequest) => ScriptedAnswer | Promise<ScriptedAnswer>)

export interface ScriptedOptions {
  /** How long each answer takes, as if somebody thought. Default: 0. */
  readonly waitMs?: number
}

export function scripted(script: Script, { waitMs = 0 }: ScriptedOptions = {}): Model {
  let asked = 0
  const answerTo = (request: ModelRequest): ScriptedAnswer | Promise<ScriptedAnswer> => {
    if (typeof script === 'function') return script(request)
    const answer = script[asked++]
    if (answer === undefined) throw new Error(`the script has ${script.length} answers, and this is the next`)
    return answer
  }
  return {
    async complete(request) {
      const started = performance.now()
      request.signal?.throwIfAborted()
      const answer = await answerTo(request)
      await waited(waitMs, request.signal)
      return toAnswer(answer, performance.now() - started)
    },
  }
}

/** Rejects with the signal's reason, as a request would. */
export async function waited(ms: number, signal: AbortSignal | undefined): Promise<void> {
  if (ms === 0) return
  try {
    await delay(ms, undefined, signal && { signal })
  } catch (error) {
    signal?.throwIfAborted()
    throw error
  }
}

function toAnswer(answer: ScriptedAnswer, ms: number): ModelAnswer {
  const { text, truncated = false, usage } = typeof answer === 'string' ? { text: answer } : answer
  return { text, truncated, usage: { inputTokens: 0, outputTokens: 0, ...usage }, ms }
}
