/** A shell that starts a program and CRIU. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { ENVIRONMENT } from './run.js'

/** Only on a tmpfs does CRIU keep what it finds out about the kernel; it would look for it at each start otherwise. */
const BEGIN = 'mount -t tmpfs none /run && echo ready\n'

/** It is the init of a pid namespace: it has those as children whose parent has ended, and they go with it. */
export class CriuShell {
  readonly #shell: ChildProcess
  readonly #input: Writable
  readonly #said: AsyncIterator<string>

  /** In its lines `$@` are these arguments. */
  constructor(directory: string, criu: string, args: readonly string[]) {
    const shell = ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc', 'sh', '-s', '--', ...args]
    this.#shell = spawn('unshare', shell, {
      cwd: directory,
      env: { ...ENVIRONMENT, CRIU: criu },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const [input, said] = this.#shell.stdio as [Writable, Readable, null, null, null]
    // Where the shell has ended, the end of what it says tells so.
    this.#input = input.on('error', () => {})
    this.#said = createInterface({ input: said })[Symbol.asyncIterator]()
  }

  async begin(): Promise<void> {
    const said = await this.#tell(BEGIN)
    if (said !== 'ready')
      throw new Error('it needs namespaces with a tmpfs in them, which cannot be made here')
  }

  async run(command: string): Promise<void> {
    const status = await this.#tell(`{ ${command}; } </dev/null >>errors 2>&1; echo $?\n`)
    if (status !== '0') throw new Error(`${command}: ended with ${status}`)
  }

  /** Gives the number of its process. */
  async start(command: string): Promise<number> {
    return Number(await this.#tell(`${command} 2>>errors & echo $!\n`))
  }

  async onlyChildOf(pid: number): Promise<number> {
    return Number(await this.#tell(`cat /proc/${pid}/task/${pid}/children; echo\n`))
  }

  /** Until its number is free: the shell takes its status while it waits for another. */
  async kill(pid: number): Promise<void> {
    const gone = `while kill -0 ${pid}; do sleep 0.001; done`
    await this.#tell(`{ kill -KILL ${pid}; ${gone}; } 2>/dev/null; echo gone\n`)
  }

  async end(): Promise<void> {
    if (this.#shell.exitCode !== null || this.#shell.signalCode !== null) return
    const exited = once(this.#shell, 'exit')
    this.#input.end()
    await exited
  }

  async #tell(line: string): Promise<string | undefined> {
    this.#input.write(line)
    return (await this.#said.next()).value
  }
}
