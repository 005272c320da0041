/** Programs that set a state up, are checkpointed, and check themselves: C, compiled here and run in a sandbox. */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { CommandHandle, ExitStatus, StartOptions } from 'deltabox'
import { expect } from 'vitest'
import { hostPidOf } from './census.js'
import { LineReader } from './line-reader.js'
import type { Scene } from './stage.js'

const sources = fileURLToPath(new URL('../programs/', import.meta.url))
const compiled = new Map<string, Promise<Buffer>>()

export class Victim {
  readonly handle: CommandHandle
  /** As the host numbers it. */
  readonly hostPid: number
  readonly #lines: LineReader
  #complaints = ''

  constructor(handle: CommandHandle, hostPid: number) {
    this.handle = handle
    this.hostPid = hostPid
    this.#lines = new LineReader(handle.stdout)
    handle.stderr.on('data', (piece: Buffer) => {
      this.#complaints += piece
    })
  }

  /** The next line it says; undefined when it has ended. */
  line(): Promise<string | undefined> {
    return this.#lines.next()
  }

  /** All lines until its end, and how it ended: `0` or a signal's name. */
  async end(): Promise<{ lines: string[]; status: ExitStatus['exitCode'] | string; complaints: string }> {
    const lines: string[] = []
    for (let line = await this.line(); line !== undefined; line = await this.line()) lines.push(line)
    const { exitCode, signal } = await this.handle.wait()
    return { lines, status: exitCode ?? signal ?? '', complaints: this.#complaints }
  }
}

/** Resolves once the program has said that it is ready, to what it said. */
export async function start(
  scene: Scene,
  name: string,
  args: readonly string[] = [],
  options: StartOptions = {},
): Promise<{ victim: Victim; said: string }> {
  const inside = `/opt/victims/${name}`
  if (!(await scene.box.files.exists(inside))) {
    compiled.set(name, compiled.get(name) ?? compile(name))
    await scene.box.files.write(`${inside}.new`, await (compiled.get(name) as Promise<Buffer>), {
      mode: 0o755,
    })
    // Whoever writes a file from outside may have it open a moment longer than it may be if it is to be run.
    await scene.sh(`cp ${inside}.new ${inside}`)
  }
  const handle = await scene.box.commands.start([inside, ...args], { cwd: '/srv', stdin: true, ...options })
  const victim = new Victim(handle, hostPidOf(scene.namespace, handle.pid) ?? 0)
  const said = (await victim.line())?.trimEnd()
  if (!said?.startsWith('ready')) expect({ said, ...(await victim.end()) }).toBe('ready')
  return { victim, said: said ?? '' }
}

async function compile(name: string): Promise<Buffer> {
  const directory = mkdtempSync(path.join(tmpdir(), 'dbx-'))
  try {
    const output = path.join(directory, name)
    const flags = ['-O2', '-Wall', '-Wextra', '-Werror', '-pthread']
    await promisify(execFile)('gcc', [...flags, '-o', output, path.join(sources, `${name}.c`), '-lrt'])
    return readFileSync(output)
  } finally {
    rmSync(directory, { recursive: true })
  }
}
