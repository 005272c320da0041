/** Models: the makers' own clients against an endpoint on loopback that speaks their wire formats, and the ones that need none. */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { appendFile, readFile, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import Anthropic from '@anthropic-ai/sdk'
import { anthropic, counted, type Model, type NodeUsage, openAi, recorded, scripted } from '@deltabox/search'
import OpenAI from 'openai'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'

interface Asked {
  readonly path: string | undefined
  readonly body: unknown
}

/** What the endpoint does next: an answer, or nothing at all. */
type Reply = { readonly status?: number; readonly body: unknown } | 'silence'

let server: Server
let url: string
let asked: Asked[]
let replies: Reply[]

beforeAll(async () => {
  server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    asked.push({ path: request.url, body: JSON.parse(Buffer.concat(chunks).toString()) })
    server.emit('asked')
    const reply = replies.shift() ?? { status: 418, body: { error: { message: 'nothing is to be asked' } } }
    if (reply === 'silence') return
    const body = typeof reply.body === 'string' ? reply.body : JSON.stringify(reply.body)
    response.writeHead(reply.status ?? 200, { 'content-type': 'application/json' }).end(body)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(() => {
  server.closeAllConnections()
  server.close()
})
beforeEach(() => {
  asked = []
  replies = []
})

const question = {
  system: 'Be short.',
  messages: [{ role: 'user', content: 'Colour?' }],
  maxTokens: 20,
  temperature: 0.5,
  stop: ['\n'],
} as const

const openAiReply = (more: object = {}): object => ({
  id: 'x',
  object: 'chat.completion',
  choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content: 'red', ...more } }],
  usage: { prompt_tokens: 11, completion_tokens: 2, total_tokens: 13 },
})

const anthropicReply = (more: object = {}): object => ({
  id: 'x',
  type: 'message',
  role: 'assistant',
  content: [
    { type: 'thinking', thinking: 'hm', signature: '' },
    { type: 'text', text: 'r' },
    { type: 'text', text: 'ed' },
  ],
  stop_reason: 'end_turn',
  usage: {
    input_tokens: 8,
    cache_creation_input_tokens: 1,
    cache_read_input_tokens: 2,
    output_tokens: 2,
  },
  ...more,
})

const kinds = {
  openAi: {
    model: (): Model =>
      openAi({
        client: new OpenAI({ baseURL: `${url}/v1`, apiKey: 'key', maxRetries: 1 }),
        model: 'm-1',
        body: { seed: 1 },
      }),
    good: openAiReply(),
    cut: { ...openAiReply(), choices: [{ finish_reason: 'length', message: { content: 're' } }] },
    empty: openAiReply({ content: null, refusal: 'no colours' }),
    emptyMessage: 'm-1 gave no text: no colours',
  },
  anthropic: {
    model: (): Model =>
      anthropic({
        client: new Anthropic({ baseURL: url, apiKey: 'key', maxRetries: 1 }),
        model: 'm-1',
        body: { top_k: 5 },
      }),
    good: anthropicReply(),
    cut: anthropicReply({ content: [{ type: 'text', text: 're' }], stop_reason: 'max_tokens' }),
    empty: anthropicReply({ content: [] }),
    emptyMessage: 'm-1 gave no text: {"id":"x"',
  },
}

describe('openAi', () => {
  it('asks as the API wants it', async () => {
    replies.push({ body: kinds.openAi.good })
    await kinds.openAi.model().complete(question)
    expect(asked).toEqual([
      {
        path: '/v1/chat/completions',
        body: {
          model: 'm-1',
          messages: [
            { role: 'system', content: 'Be short.' },
            { role: 'user', content: 'Colour?' },
          ],
          max_tokens: 20,
          temperature: 0.5,
          stop: ['\n'],
          seed: 1,
        },
      },
    ])
  })

  it('counts nothing where the endpoint does not', async () => {
    replies.push({ body: { choices: [{ finish_reason: 'stop', message: { content: '' } }] } })
    expect(await kinds.openAi.model().complete({ messages: [] })).toMatchObject({
      text: '',
      usage: { inputTokens: 0, outputTokens: 0 },
    })
  })
})

describe('anthropic', () => {
  it('asks as the API wants it', async () => {
    replies.push({ body: kinds.anthropic.good }, { body: kinds.anthropic.good })
    await kinds.anthropic.model().complete(question)
    await kinds.anthropic.model().complete({ messages: question.messages })
    const messages = [{ role: 'user', content: 'Colour?' }]
    const known = { path: '/v1/messages' }
    expect(asked).toEqual([
      {
        ...known,
        body: {
          ...{ model: 'm-1', max_tokens: 20, messages, system: 'Be short.' },
          ...{ temperature: 0.5, stop_sequences: ['\n'], top_k: 5 },
        },
      },
      { ...known, body: { model: 'm-1', max_tokens: 4096, messages, top_k: 5 } },
    ])
  })
})

describe.each(Object.entries(kinds))('%s', (_name, { model, good, cut, empty, emptyMessage }) => {
  it('gives text, tokens and time', async () => {
    replies.push({ body: good })
    const usage = { inputTokens: 11, outputTokens: 2 }
    const answer = await model().complete(question)
    expect(answer).toEqual({ text: 'red', truncated: false, usage, ms: expect.any(Number) })
    expect(answer.ms).toBeGreaterThan(0)
  })

  it('tells that an answer was cut short', async () => {
    replies.push({ body: cut })
    expect(await model().complete(question)).toMatchObject({ text: 're', truncated: true })
  })

  it('is given up when the signal says so', async () => {
    replies.push('silence')
    const stop = new AbortController()
    const answer = model().complete({ ...question, signal: stop.signal })
    const refused = expect(answer).rejects.toMatchObject({ message: 'Request was aborted.' })
    await once(server, 'asked')
    stop.abort()
    await refused
    expect(asked).toHaveLength(1)
  })

  it('leaves faults of the endpoint to its client, which tries again', async () => {
    const fault = { status: 500, body: { error: { message: 'out of order' } } }
    replies.push(fault, { body: good })
    expect((await model().complete(question)).text).toBe('red')
    replies.push(fault, fault)
    await expect(model().complete(question)).rejects.toMatchObject({ status: 500 })
    expect(asked).toHaveLength(4)
  })

  it('refuses an answer that is none', async () => {
    replies.push({ body: empty })
    await expect(model().complete(question)).rejects.toThrow(emptyMessage)
    replies.push({ body: {} })
    await expect(model().complete(question)).rejects.toThrow('m-1 gave no text: {')
    replies.push({ body: '<html>' }, { body: '<html>' })
    await expect(model().complete(question)).rejects.toThrow()
  })
})

describe('counted', () => {
  it('counts with the step, and is given up with it', async () => {
    const counts: Partial<NodeUsage>[] = []
    const step = new AbortController()
    const context = { signal: step.signal, count: (usage: Partial<NodeUsage>) => void counts.push(usage) }
    const script = [{ text: 'a', usage: { inputTokens: 3, outputTokens: 1 } }, 'b']
    const model = counted(scripted(script, { waitMs: 5 }), context)
    expect((await model.complete(question)).text).toBe('a')
    expect(counts).toEqual([{ inputTokens: 3, outputTokens: 1, modelMs: expect.any(Number) }])
    step.abort(new Error('too late'))
    await expect(model.complete(question)).rejects.toThrow('too late')
    expect(counts).toHaveLength(1)
  })
})

describe('scripted', () => {
  it('gives its answers in order, and no more', async () => {
    const model = scripted(['one', { text: 'two', truncated: true, usage: { outputTokens: 4 } }])
    expect((await model.complete(question)).text).toBe('one')
    const usage = { inputTokens: 0, outputTokens: 4 }
    expect(await model.complete(question)).toMatchObject({ text: 'two', truncated: true, usage })
    await expect(model.complete(question)).rejects.toThrow('the script has 2 answers')
  })

  it('answers by a function of the request', async () => {
    const model = scripted(({ messages }) => `${messages.at(-1)?.content} Red.`)
    expect((await model.complete(question)).text).toBe('Colour? Red.')
  })

  it('takes its time, unless it is given up', async () => {
    const model = scripted(() => 'late', { waitMs: 30 })
    expect((await model.complete(question)).ms).toBeGreaterThan(25)
    const signal = AbortSignal.timeout(5)
    await expect(
      scripted(() => 'late', { waitMs: 60_000 }).complete({ ...question, signal }),
    ).rejects.toThrow('aborted due to timeout')
  })
})

describe('recorded', () => {
  let file: string
  beforeEach(() => {
    file = path.join(mkdtempSync(path.join(tmpdir(), 'dbx-recorded-')), 'answers.jsonl')
  })
  afterEach(() => rmSync(path.dirname(file), { recursive: true, force: true }))

  const other = { messages: [{ role: 'user', content: `Shape${'?'.repeat(200)}` }] } as const

  it('answers the same without the model, in the order in which it was asked', async () => {
    const usage = { inputTokens: 3, outputTokens: 1 }
    const recording = recorded(file, { model: scripted([{ text: 'red', usage }, 'round', 'blue']) })
    const given = [
      await recording.complete(question),
      await recording.complete(other),
      await recording.complete({ ...question, signal: new AbortController().signal }),
    ]
    const replay = recorded(file)
    const again = [
      await replay.complete(question),
      await replay.complete(question),
      await replay.complete(other),
    ]
    const told = (answers: typeof given): unknown => answers.map(({ ms: _ms, ...answer }) => answer)
    expect(told(again)).toEqual(told([given[0], given[2], given[1]] as typeof given))
    expect(again[0]).toMatchObject({ text: 'red', usage })
  })

  it('names a request that it has no answer to', async () => {
    await recorded(file, { model: scripted(['red']) }).complete(question)
    const replay = recorded(file)
    const message = new RegExp(`^${file} has no answer for request [0-9a-f]{12}: "Shape\\?{95}…"$`)
    await expect(replay.complete(other)).rejects.toThrow(message)
    await expect(replay.complete({ ...question, temperature: 1 })).rejects.toThrow('has no answer')
    await replay.complete(question)
    await expect(replay.complete(question)).rejects.toThrow('has no more than 1 answers for request')
  })

  it('goes on with a file, and asks the model for what is missing only', async () => {
    await recorded(file, { model: scripted(['red']) }).complete(question)
    await appendFile(file, '{"hash":"cut sho')
    const recording = recorded(file, { model: scripted(['round']) })
    expect((await recording.complete(other)).text).toBe('round')
    expect((await recording.complete(question)).text).toBe('red')
    expect((await recorded(file).complete(other)).text).toBe('round')
    expect(await readFile(file, 'utf8')).toMatch(/^{"kind":"recorded","version":1}\n/)
  })

  it('records nothing of a model that fails', async () => {
    const failing = scripted(() => {
      throw new Error('no idea')
    })
    await expect(recorded(file, { model: failing }).complete(question)).rejects.toThrow('no idea')
    await expect(recorded(file).complete(question)).rejects.toThrow('has no answer')
  })

  it('takes as long as it is told to, or as it took', async () => {
    await recorded(file, { model: scripted(['red'], { waitMs: 500 }) }).complete(question)
    expect((await recorded(file).complete(question)).ms).toBeLessThan(450)
    expect((await recorded(file, { waitMs: 30 }).complete(question)).ms).toBeGreaterThan(25)
    expect((await recorded(file, { waitMs: 'recorded' }).complete(question)).ms).toBeGreaterThan(490)
  })

  it('refuses a file that is missing or something else', async () => {
    await expect(recorded(file).complete(question)).rejects.toMatchObject({ code: 'ENOENT' })
    await writeFile(file, '{"kind":"search","version":1}\n')
    await expect(recorded(file).complete(question)).rejects.toThrow('is not a recording')
  })
})
