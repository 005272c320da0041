/** The worker as an ordinary process of the host, which CRIU dumps and restores. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { Socket } from 'node:net'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { timed } from '../measure.js'
import { mustBe, Worker, program as workerProgram } from '../worker.js'

/** What somebody names or has fetched goes before what the system has, which may be too old for its kernel. */
function find(): string | undefined {
  const named = process.env.DELTABOX_CRIU
  if (named) return named
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache')
  const directories = [join(cache, 'deltabox/criu'), ...(process.env.PATH ?? '').split(':'), '/usr/sbin']
  return directories.map((directory) => join(directory, 'criu')).find((path) => existsSync(path))
}

function linesOf(input: Readable): AsyncIterator<string> {
  return createInterface({ input })[Symbol.asyncIterator]()
}

/** What CRIU has to say about it. */
function complaints(criu: string, directory: string): string[] {
  const logs = ['dump', 'restore'].map((step) => join(directory, 'images', `${step}.log`))
  const check = spawnSync(criu, ['check'], { encoding: 'utf8' })
  return [
    ...logs.filter((log) => existsSync(log)).map((log) => readFileSync(log, 'utf8')),
    `criu check: ${check.stdout ?? ''}${check.stderr ?? ''}`,
  ].flatMap((text) => text.split('\n').filter((line) => /Error|criu check/.test(line)))
}

/**
 * A shell starts the worker and CRIU, in a mount namespace with a tmpfs at /run: only on one does CRIU keep what it finds out
 * about the kernel; it would look for it at each start otherwise. They talk through named pipes, which can be opened again.
 */
export class CriuWorker {
  /** Whichever process is there. */
  readonly worker: Worker
  readonly version: string
  readonly #directory: string
  readonly #shell: ChildProcess
  readonly #input: Writable
  /** What the shell says, and as which restored processes have ended. */
  readonly #said: AsyncIterator<string>
  readonly #ends: AsyncIterator<string>
  readonly #questions: number
  readonly #answers: Socket
  /** All have the same. */
  #pid = 0
  #running = false
  /** Fulfilled when the process that runs has been ended and its number is free. */
  #gone: () => Promise<unknown> = async () => {}

  private constructor(criu: string, directory: string) {
    this.#directory = directory
    const version = execFileSync(criu, ['--version'], { encoding: 'utf8' })
    this.version = /Version: (\S+)/.exec(version)?.[1] ?? version
    for (const name of ['in', 'out']) execFileSync('mkfifo', [join(directory, name)])
    // Opened for both directions, so that no opening waits and no end is seen between two processes.
    const flags = constants.O_RDWR | constants.O_NONBLOCK
    const questions = openSync(join(directory, 'in'), flags)
    this.#questions = questions
    this.#answers = new Socket({
      fd: openSync(join(directory, 'out'), flags),
      readable: true,
      writable: false,
    })
    this.worker = new Worker(async (line) => void writeSync(questions, line), linesOf(this.#answers))
    const shell = spawn('unshare', ['--mount', '--propagation', 'private', 'sh'], {
      cwd: directory,
      env: { ...process.env, CRIU: criu, WORKER: workerProgram },
      stdio: ['pipe', 'pipe', 'inherit', 'pipe'],
    })
    this.#shell = shell
    const [input, said, , ends] = shell.stdio as [Writable, Readable, null, Readable, null]
    // Where the shell has ended, the end of what it says tells so.
    this.#input = input.on('error', () => {})
    this.#said = linesOf(said)
    this.#ends = linesOf(ends)
  }

  /** Or why there is none: only one that has been dumped and restored once, and answers as before, will do. */
  static async start(megabytes: number): Promise<CriuWorker | string> {
    const criu = find()
    if (!criu) return 'there is none; scripts/fetch-criu.sh fetches one, DELTABOX_CRIU names one'
    const directory = mkdtempSync(join(tmpdir(), 'dbb-criu-'))
    let made: CriuWorker | undefined
    try {
      made = new CriuWorker(criu, directory)
      await made.#begin(megabytes)
      const turns = await made.worker.ask('turn')
      await made.dump()
      await made.restore(turns)
      return made
    } catch (error) {
      const reason = [`${criu}: ${error}`, ...complaints(criu, directory)].join('\n  ')
      if (made) await made.end()
      else rmSync(directory, { recursive: true })
      return reason
    }
  }

  /** How long it takes. The worker runs on. */
  async dump(): Promise<number> {
    const images = join(this.#directory, 'images')
    rmSync(images, { recursive: true, force: true })
    mkdirSync(images)
    const options = `--tree ${this.#pid} --leave-running --images-dir images --log-file dump.log 3>&-`
    return await timed(async () => {
      const status = await this.#tell(`"$CRIU" dump ${options} </dev/null; echo $?`)
      if (status !== '0') throw new Error(`criu dump ended with ${status}`)
    })
  }

  /** How long it takes from the call of CRIU to the right answer. The process that was there is gone before. */
  async restore(turns: number): Promise<number> {
    await this.#end()
    return await timed(async () => {
      // It stays until the process it has restored has ended, and takes its status: nobody else would.
      const command = '"$CRIU" restore --images-dir images --log-file restore.log 3>&-'
      this.#input.write(`{ ${command}; echo $? >&3; } &\n`)
      const ended = this.#ends.next()
      const failed = ended.then(({ value }) => {
        this.#running = false
        throw new Error(`criu restore ended with ${value}`)
      })
      this.#running = true
      this.#gone = () => ended
      mustBe(await Promise.race([this.worker.ask('turns'), failed]), turns)
    })
  }

  async end(): Promise<void> {
    await this.#end()
    const exited = once(this.#shell, 'exit')
    this.#input.end()
    if (this.#shell.exitCode === null) await exited
    this.#answers.destroy()
    closeSync(this.#questions)
    rmSync(this.#directory, { recursive: true })
  }

  async #begin(megabytes: number): Promise<void> {
    // The leader of a session of its own refers to nothing that CRIU would have to leave out.
    const command = `setsid python3 "$WORKER" ${megabytes} <>in >>out 2>>err 3>&-`
    this.#pid = Number((await this.#tell(`mount -t tmpfs none /run || exit; ${command} & echo $!`)) ?? 0)
    if (this.#pid === 0) throw new Error('it needs a mount namespace with a tmpfs, which cannot be made here')
    this.#running = true
    this.#gone = () => this.#tell('wait; echo')
    await this.worker.next()
  }

  async #end(): Promise<void> {
    if (!this.#running) return
    process.kill(this.#pid, 'SIGKILL')
    await this.#gone()
    this.#running = false
  }

  async #tell(line: string): Promise<string | undefined> {
    this.#input.write(`${line}\n`)
    return (await this.#said.next()).value
  }
}
