/** A Python process in a sandbox that does what it is told and keeps all it has between. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { CommandHandle, Sandbox, StartOptions } from 'deltabox'
import { expect } from 'vitest'
import { hostPidOf } from './census.js'
import { LineReader } from './line-reader.js'

const program = readFileSync(fileURLToPath(new URL('../programs/interpreter.py', import.meta.url)), 'utf8')

export class Interpreter {
  readonly handle: CommandHandle
  /** As the host numbers it. */
  readonly hostPid: number
  readonly #replies: LineReader

  private constructor(handle: CommandHandle, replies: LineReader, hostPid: number) {
    this.handle = handle
    this.hostPid = hostPid
    this.#replies = replies
  }

  /** `namespace`: of the sandbox's pids. */
  static async start(box: Sandbox, namespace: string, options: StartOptions = {}): Promise<Interpreter> {
    const handle = await box.commands.start(['python3', '-c', program], {
      cwd: '/srv',
      ...options,
      stdin: true,
    })
    const replies = new LineReader(handle.stdout)
    const interpreter = new Interpreter(handle, replies, hostPidOf(namespace, handle.pid) ?? 0)
    expect(await interpreter.do('os.getpid()')).toBe(handle.pid)
    return interpreter
  }

  /** The value of the code's last expression; bytes come as text with one character per byte. */
  // biome-ignore lint/suspicious/noExplicitAny: a test states what it expects of it
  async do(code: string): Promise<any> {
    await this.handle.sendStdin(`${JSON.stringify(code)}\n`)
    const line = await this.#replies.next()
    if (line === undefined)
      throw new Error(`the interpreter ended: ${JSON.stringify(await this.handle.wait())}`)
    const reply = JSON.parse(line)
    if ('error' in reply) throw new Error(reply.error)
    return reply.value
  }

  /** What system call the process waits in, by its number; -1 outside of any. */
  waitsIn(): number {
    const [number = ''] = readFileSync(`/proc/${this.hostPid}/syscall`, 'utf8').split(' ')
    return /^\d/.test(number) ? Number(number) : -1
  }
}
