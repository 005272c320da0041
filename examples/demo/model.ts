/** Who decides what to do next: a conversation goes in, text comes out. */
import { setTimeout as delay } from 'node:timers/promises'
import { anthropic, type Model, openAi, scripted } from '@deltabox/search'
import { type Action, parseAction } from './actions.js'

export interface NamedModel extends Model {
  /** As it is called in a sentence. */
  readonly name: string
}

/** That of an endpoint for which there is a key, else the script. */
export async function chooseModel(scale: number): Promise<NamedModel> {
  const { ANTHROPIC_API_KEY, OPENAI_API_KEY, DELTABOX_DEMO_MODEL } = process.env
  if (ANTHROPIC_API_KEY) {
    const { Anthropic } = await import('@anthropic-ai/sdk')
    const model = DELTABOX_DEMO_MODEL || 'claude-sonnet-4-5'
    return { name: model, ...anthropic({ client: new Anthropic(), model }) }
  }
  if (OPENAI_API_KEY) {
    const { OpenAI } = await import('openai')
    const model = DELTABOX_DEMO_MODEL || 'gpt-5'
    return { name: model, ...openAi({ client: new OpenAI(), model }) }
  }
  return scriptedModel(scale)
}

const CATALOGUE = 'shelf/catalogue.py'
const put = (line: string): string =>
  `    def put(self, name: str, item: dict) -> None:\n        self._items[slug(name)] = item\n        ${line}\n`
const remove = (line: string): string =>
  `    def remove(self, name: str) -> None:\n        del self._items[slug(name)]\n        ${line}\n`
const get = (line: string): string =>
  `    def get(self, name: str) -> bytes:\n        key = slug(name)\n        ${line}\n`
const WRONG = 'self.cache.forget(name)'
const RIGHT = 'self.cache.forget(slug(name))'

const TEST: Action = { tool: 'test' }
const VIEW: Action = { tool: 'view', path: CATALOGUE }
const STOP: Action = { tool: 'restart', how: 'stop' }
const KILL: Action = { tool: 'restart', how: 'kill' }
const TIDY: Action = { tool: 'delete', path: 'vendor' }
const edit = (part: (line: string) => string, old: string, changed: string): Action => {
  return { tool: 'edit', path: CATALOGUE, old: part(old), new: part(changed) }
}
const FIX_PUT = edit(put, WRONG, RIGHT)
const FIX_REMOVE = edit(remove, WRONG, RIGHT)
/** The test that fails passes, and what nothing has changed is forgotten too. */
const CLEAR_ALL = edit(put, WRONG, 'self.cache.clear()')
/** The test that fails passes, and there is no cache any more. */
const NO_CACHE = edit(get, 'entry = self.cache.get(key)', 'entry = None  # cannot be trusted')

/** Per state. */
const IDEAS = 3
/** Milliseconds. */
const LEAST_WAIT = 150
const MOST_WAIT = 300

/**
 * Plays a model without one: it thinks for 150 to 300 milliseconds, times `scale`, and proposes what a hasty engineer might. Of what
 * is right and what is wrong it knows nothing; which of its ideas comes first is fixed.
 */
function scriptedModel(scale: number): NamedModel {
  const wait = (question: string): number =>
    scale * (LEAST_WAIT + (hashOf(question) % (MOST_WAIT - LEAST_WAIT)))
  const model = scripted(async ({ messages, signal }) => {
    await delay(wait(JSON.stringify(messages)), undefined, signal && { signal })
    const done = messages
      .filter(({ role }) => role === 'assistant')
      .map(({ content }) => parseAction(content))
    const earlier = Number(/(\d+) proposals? /.exec(messages.at(-1)?.content ?? '')?.[1] ?? 0)
    const ideas = ideasAfter(done)
    return JSON.stringify(ideas[earlier % ideas.length])
  })
  return {
    name: `a script that pretends to think for ${LEAST_WAIT * scale} to ${MOST_WAIT * scale} ms`,
    ...model,
  }
}

/** The wrong ones first, as they are the shorter ones. */
function ideasAfter(done: readonly Action[]): readonly Action[] {
  const had = done.map((action) => JSON.stringify(action))
  const has = (action: Action): boolean => had.includes(JSON.stringify(action))
  const isFresh = (action: Action): boolean => had.at(-1) === JSON.stringify(action)
  const ideas = ((): Action[] => {
    if (has(TIDY)) return [TEST, STOP, VIEW]
    if (!has(VIEW)) return has(TEST) ? [VIEW, TIDY, KILL] : [TEST, TIDY, VIEW]
    if (has(CLEAR_ALL) || has(NO_CACHE)) return [TEST, STOP, KILL, TIDY]
    if (!has(FIX_PUT)) return [CLEAR_ALL, NO_CACHE, FIX_PUT]
    return has(FIX_REMOVE) ? [KILL, TEST, STOP, TIDY] : [TEST, KILL, FIX_REMOVE, STOP]
  })()
  return ideas.filter((idea) => !isFresh(idea)).slice(0, IDEAS)
}

function hashOf(text: string): number {
  let hash = 0x811c9dc5
  for (const character of text) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193)
  return hash >>> 0
}
