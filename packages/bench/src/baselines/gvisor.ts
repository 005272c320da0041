/** The program under gVisor's kernel, which runsc saves and loads. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { copyFile, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { settle } from '../suite.js'
import type { Contender, Contest, Task } from './contender.js'
import { NamedPipes } from './named-pipes.js'
import { copyTree, newPlace, underWay } from './place.js'
import { ENVIRONMENT, find, mustBeRoot, versionOf } from './run.js'

/** Nothing is written to the host's files: what is changed is in memory, and so in what is saved. */
const OPTIONS = ['--network=none', '--ignore-cgroups', '--overlay2=all:memory']

class Gvisor implements Contest {
  readonly version: string
  readonly #runsc: string
  readonly #place: string = newPlace('gvisor')
  readonly #pipes: NamedPipes = new NamedPipes(this.#place)
  /** There is one container after the other: what a name stood for takes runsc a second to forget. */
  #containers = 0
  #images = 0
  /** Of the process that has all of the container in it. */
  #pid: number | undefined

  constructor(runsc: string, version: string, { args }: Task) {
    this.version = version
    this.#runsc = runsc
    const command = ['python3', this.#inPlace('program.py'), this.#inPlace('workspace'), ...args]
    writeFileSync(this.#inPlace('config.json'), JSON.stringify(bundle(command)))
    mkdirSync(this.#inPlace('state'))
  }

  async start({ workspace, program }: Task): Promise<void> {
    await copyFile(program, this.#inPlace('program.py'))
    await copyTree(workspace, this.#inPlace('workspace'))
    await this.#begin('run')
    await this.#pipes.talk.next()
  }

  ask(line: string): Promise<string> {
    return this.#pipes.talk.ask(line)
  }

  act(line: string): Promise<string> {
    return this.ask(line)
  }

  async checkpoint(): Promise<string> {
    this.#images += 1
    const image = this.#inPlace(`image${this.#images}`)
    // Packing it takes longer than writing it to memory, where it stays for a while.
    const options = ['--leave-running', '--compression', 'none', '--image-path', image]
    await this.#call(['checkpoint', ...options, String(this.#containers)])
    return image
  }

  async restore(kept: unknown): Promise<void> {
    await this.#kill()
    await this.#begin('restore', '--image-path', kept as string)
  }

  async forget(kept: unknown): Promise<void> {
    await rm(kept as string, { recursive: true, force: true })
  }

  async end(): Promise<void> {
    await this.#kill()
    this.#pipes.close()
    await rm(this.#place, { recursive: true, force: true })
  }

  async #begin(verb: string, ...options: readonly string[]): Promise<void> {
    this.#containers += 1
    const bundled = ['--detach', '--bundle', this.#place, '--pid-file', this.#inPlace('pid'), ...options]
    await this.#call([verb, ...bundled, String(this.#containers)])
    this.#pid = Number(await readFile(this.#inPlace('pid'), 'utf8'))
  }

  /** The container gets the ends of the pipes that runsc has. */
  async #call(args: readonly string[]): Promise<void> {
    const stdio = [openSync(this.#inPlace('in'), 'r'), openSync(this.#inPlace('out'), 'a')]
    stdio.push(openSync(this.#inPlace('errors'), 'w'))
    try {
      const all = [`--root=${this.#inPlace('state')}`, ...OPTIONS, ...args]
      const [status] = await once(spawn(this.#runsc, all, { env: ENVIRONMENT, stdio }), 'exit')
      if (status === 0) return
      const complaint = readFileSync(this.#inPlace('errors'), 'utf8').trim()
      throw new Error(`runsc ${args[0]} ended with ${status}: ${complaint}`)
    } finally {
      for (const descriptor of stdio) closeSync(descriptor)
    }
  }

  /** All of the container goes with it. */
  async #kill(): Promise<void> {
    if (this.#pid === undefined) return
    if (runs(this.#pid)) process.kill(this.#pid, 'SIGKILL')
    while (runs(this.#pid)) await settle(1)
    this.#pid = undefined
  }

  #inPlace(name: string): string {
    return path.join(this.#place, name)
  }
}

/** Not where it only waits for somebody to take its status. */
function runs(pid: number): boolean {
  const status = `/proc/${pid}/stat`
  return existsSync(status) && !/\) [ZX] /.test(readFileSync(status, 'utf8'))
}

function bundle(args: readonly string[]): object {
  const env = Object.entries(ENVIRONMENT).map(([name, value]) => `${name}=${value}`)
  return {
    ociVersion: '1.0.0',
    process: { user: { uid: 0, gid: 0 }, args, env, cwd: '/', noNewPrivileges: true },
    root: { path: '/', readonly: false },
    mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }],
    linux: { namespaces: ['pid', 'ipc', 'uts', 'mount', 'network'].map((type) => ({ type })) },
  }
}

export const gvisor: Contender = {
  name: 'gvisor',
  about:
    'runsc saves and loads the whole container: its processes and, in memory, what they wrote to files over those of the host; what ran before is ended by a signal, as runsc takes more than a second to delete it',
  bringsMemoryBack: true,
  begin: async (task) => {
    mustBeRoot()
    const runsc = find('runsc')
    return await underWay(new Gvisor(runsc, await versionOf(runsc), task), async (contest) => {
      await contest.start(task)
      // Only what has gone back once will do.
      const kept = await contest.checkpoint()
      await contest.restore(kept)
      await contest.forget(kept)
    })
  },
}
