/** A program in a sandbox that sets a state up, leaves it, and says whether it is in it. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { linesOf } from '@deltabox/bench/inside'
import type { CommandHandle, Sandbox } from 'deltabox'
import { expect } from 'vitest'

const directory = fileURLToPath(new URL('../victims/', import.meta.url))
const supportDirectory = fileURLToPath(new URL('.', import.meta.url))
const support = readFileSync(new URL('victim.py', import.meta.url))

type Action = 'change' | 'verify'

export class Victim {
  readonly #handle: CommandHandle
  readonly #lines: AsyncIterator<string>

  private constructor(handle: CommandHandle) {
    this.#handle = handle
    this.#lines = linesOf(handle)
  }

  /** By its file: Python, or C that is compiled first. */
  static async start(box: Sandbox, file: string): Promise<Victim> {
    const victim = new Victim(await box.commands.start(await install(box, file), { stdin: true }))
    expect(await victim.#next()).toBe('ready')
    return victim
  }

  /** The command's id. */
  get process(): string {
    return this.#handle.process
  }

  /** The same one in a fork. */
  async in(kid: Sandbox): Promise<Victim> {
    return new Victim(await kid.commands.connect(this.#handle.process))
  }

  async change(): Promise<void> {
    await this.#do('change')
  }

  async verify(): Promise<void> {
    await this.#do('verify')
  }

  async #do(action: Action): Promise<void> {
    await this.#handle.sendStdin(`${action}\n`).catch((cause: unknown) => this.#ended(cause))
    expect(await this.#next()).toBe(`${action} done`)
  }

  async #next(): Promise<string> {
    const { value, done } = await this.#lines.next()
    if (done) return await this.#ended()
    return value.replaceAll('\\n', '\n')
  }

  /** With what it has said last. */
  async #ended(cause?: unknown): Promise<never> {
    const { exitCode, signal } = await this.#handle.wait()
    const { value } = await this.#lines.next()
    throw new Error(`the victim has ended: ${signal ?? exitCode} ${value ?? ''}`, { cause })
  }
}

async function install(box: Sandbox, file: string): Promise<string[]> {
  if (file.endsWith('.py')) {
    await box.files.write('/opt/victims/victim.py', support)
    const script = `/opt/victims/${path.basename(file)}`
    await box.files.write(script, readFileSync(path.join(directory, file)))
    return ['python3', script]
  }
  const program = `/opt/victims/${path.basename(file, '.c')}`
  await box.files.write(program, compiled(path.join(directory, file)), { mode: 0o755 })
  return [program]
}

function compiled(source: string): Buffer {
  const temporary = mkdtempSync(path.join(tmpdir(), 'dbx-victim-'))
  const output = path.join(temporary, 'victim')
  try {
    execFileSync('gcc', [
      '-std=gnu17',
      '-D_GNU_SOURCE',
      '-O1',
      '-pthread',
      '-I',
      supportDirectory,
      '-o',
      output,
      source,
      '-lm',
    ])
    return readFileSync(output)
  } finally {
    rmSync(temporary, { recursive: true, force: true })
  }
}
