/** What a model was asked and answered, as a file: one JSON document per line, by which the same is answered again without it. */
import { createHash } from 'node:crypto'
import { appendFile, readFile } from 'node:fs/promises'
import type { Model, ModelAnswer, ModelRequest } from './model.js'
import { waited } from './scripted.js'

const VERSION = 1

interface Head {
  readonly kind: 'recorded'
  readonly version: typeof VERSION
}

interface Line {
  readonly hash: string
  readonly request: Omit<ModelRequest, 'signal'>
  readonly answer: ModelAnswer
}

export interface RecordedOptions {
  /** Asked what the file does not know, which is written to it then. Without one such a request is an error. */
  readonly model?: Model
  /** How long an answer of the file takes: milliseconds, or what it took when it was recorded. Default: 0. */
  readonly waitMs?: number | 'recorded'
}

/** A request that is made several times gets its answers in the order in which they were recorded. */
export function recorded(file: string, { model, waitMs = 0 }: RecordedOptions = {}): Model {
  let loading: Promise<Recording> | undefined
  return {
    async complete(request) {
      const started = performance.now()
      request.signal?.throwIfAborted()
      loading ??= Recording.load(file, model === undefined)
      const recording = await loading
      const hash = hashOf(request)
      const known = recording.next(hash)
      if (known) {
        await waited(waitMs === 'recorded' ? known.ms : waitMs, request.signal)
        return { ...known, ms: performance.now() - started }
      }
      if (!model) throw new Error(`${file} has ${recording.count(hash)} for ${described(hash, request)}`)
      const answer = await model.complete(request)
      await recording.add({ hash, request: plain(request), answer })
      return answer
    },
  }
}

class Recording {
  readonly #file: string
  readonly #answers: ReadonlyMap<string, ModelAnswer[]>
  readonly #asked = new Map<string, number>()
  /** One line at a time. */
  #last: Promise<unknown>

  private constructor(file: string, lines: readonly Line[], beginning: string) {
    this.#file = file
    const answers = new Map<string, ModelAnswer[]>()
    for (const { hash, answer } of lines) answers.set(hash, [...(answers.get(hash) ?? []), answer])
    this.#answers = answers
    this.#last = beginning === '' ? Promise.resolve() : appendFile(file, beginning, { mode: 0o600 })
  }

  /** What a line goes on from is in the file by then. */
  static async load(file: string, mustExist: boolean): Promise<Recording> {
    const recording = await Recording.#read(file, mustExist)
    await recording.#last
    return recording
  }

  static async #read(file: string, mustExist: boolean): Promise<Recording> {
    const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' && !mustExist) return ''
      throw error
    })
    const head: Head = { kind: 'recorded', version: VERSION }
    if (text === '') return new Recording(file, [], mustExist ? '' : `${JSON.stringify(head)}\n`)
    const [first, ...lines] = text.split('\n').flatMap((line) => parsed(line))
    const { kind, version } = (first ?? {}) as Partial<Head>
    if (kind !== 'recorded' || version !== VERSION) {
      throw new Error(`${file} is not a recording that this version knows`)
    }
    // What was being written when the program died is not gone on with.
    return new Recording(file, lines as Line[], mustExist || text.endsWith('\n') ? '' : '\n')
  }

  next(hash: string): ModelAnswer | undefined {
    const index = this.#asked.get(hash) ?? 0
    this.#asked.set(hash, index + 1)
    return this.#answers.get(hash)?.[index]
  }

  count(hash: string): string {
    const { length } = this.#answers.get(hash) ?? []
    return length === 0 ? 'no answer' : `no more than ${length} answers`
  }

  async add(line: Line): Promise<void> {
    const written = this.#last.then(() => appendFile(this.#file, `${JSON.stringify(line)}\n`))
    this.#last = written.catch(() => undefined)
    await written
  }
}

function parsed(line: string): unknown[] {
  try {
    return [JSON.parse(line)]
  } catch {
    return []
  }
}

/** Always in the same order, as it is hashed. */
function plain({
  system,
  messages,
  maxTokens,
  temperature,
  stop,
}: ModelRequest): Omit<ModelRequest, 'signal'> {
  return {
    ...(system !== undefined && { system }),
    messages: messages.map(({ role, content }) => ({ role, content })),
    ...(maxTokens !== undefined && { maxTokens }),
    ...(temperature !== undefined && { temperature }),
    ...(stop && { stop }),
  }
}

function hashOf(request: ModelRequest): string {
  return createHash('sha256')
    .update(JSON.stringify(plain(request)))
    .digest('hex')
}

function described(hash: string, { messages }: ModelRequest): string {
  const { content = '' } = messages.at(-1) ?? {}
  const beginning = content.length > 100 ? `${content.slice(0, 100)}…` : content
  return `request ${hash.slice(0, 12)}: ${JSON.stringify(beginning)}`
}
