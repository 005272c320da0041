/** actor.py, inside a sandbox or outside: one operation and one answer at a time. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { Sandbox } from 'deltabox'
import type { FileOperation, Seen } from './operations.js'

const program = readFileSync(fileURLToPath(new URL('actor.py', import.meta.url)), 'utf8')
/** An answer that takes longer will not come. */
const PATIENCE_MS = 30_000

export interface Reply extends Partial<Seen> {
  readonly result: { readonly value?: unknown; readonly error?: string }
  readonly digest?: string
  /** When the step began, in nanoseconds; as text, for it is no exact number here. */
  readonly began: string | null
}

/** Number and beginning of each step, by which an actor that is started later tells times. */
export type Steps = [step: number, began: string][]

export interface Setup {
  readonly trees: Readonly<Record<string, string>>
  readonly steps: Steps
  /** Whether a file's link count is looked at. */
  readonly countNames: boolean
}

export class Actor {
  readonly #lines: AsyncIterator<string>
  readonly #send: (line: string) => Promise<void>
  readonly #end: () => Promise<void>
  readonly #complaints: () => string

  private constructor(
    output: Readable,
    send: (line: string) => Promise<void>,
    end: () => Promise<void>,
    complaints: () => string,
  ) {
    this.#lines = createInterface({ input: output })[Symbol.asyncIterator]()
    this.#send = send
    this.#end = end
    this.#complaints = complaints
  }

  static outside(setup: Setup): Promise<Actor> {
    return Actor.#onHost({ ...setup, outside: true })
  }

  /** One that may look at everything. */
  static host(): Promise<Actor> {
    return Actor.#onHost({ trees: {}, steps: [], countNames: false, outside: false })
  }

  static async #onHost(setup: Setup & { outside: boolean }): Promise<Actor> {
    const child = spawn('python3', ['-c', program, JSON.stringify(setup)], { cwd: '/', stdio: 'pipe' })
    const complaints = collected(child.stderr)
    child.stdin.on('error', () => {}) // told by the answer that does not come
    const actor = new Actor(
      child.stdout,
      async (line) => {
        child.stdin.write(line)
      },
      async () => {
        const exited = once(child, 'exit')
        child.kill('SIGKILL')
        await exited
      },
      complaints,
    )
    await actor.#hear()
    return actor
  }

  static async inside(box: Sandbox, setup: Setup): Promise<Actor> {
    const command = ['python3', '-c', program, JSON.stringify({ ...setup, outside: false })]
    const handle = await box.commands.start(command, { cwd: '/', stdin: true })
    const complaints = collected(handle.stderr)
    const actor = new Actor(
      handle.stdout,
      (line) => handle.sendStdin(line),
      async () => {
        await handle.kill()
        await handle.wait()
      },
      complaints,
    )
    await actor.#hear()
    return actor
  }

  async ask(operation: FileOperation & { readonly tell?: 'nothing' | 'digest' | 'names' }): Promise<Reply> {
    await this.#send(`${JSON.stringify(operation)}\n`)
    return (await this.#hear()) as Reply
  }

  /** What it sees, name by name. */
  async look(): Promise<Record<string, unknown>> {
    return (await this.ask({ op: 'look', tell: 'nothing' })).result.value as Record<string, unknown>
  }

  end(): Promise<void> {
    return this.#end()
  }

  async #hear(): Promise<unknown> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer; stderr: ${this.#complaints()}`)), PATIENCE_MS)
    })
    const { value, done } = await Promise.race([this.#lines.next(), late]).finally(() => clearTimeout(timer))
    if (done) throw new Error(`the actor has ended; stderr: ${this.#complaints()}`)
    return JSON.parse(value)
  }
}

function collected(stream: Readable): () => string {
  const pieces: Buffer[] = []
  stream.on('data', (piece) => pieces.push(Buffer.from(piece)))
  stream.on('error', () => {})
  return () => Buffer.concat(pieces).toString()
}
