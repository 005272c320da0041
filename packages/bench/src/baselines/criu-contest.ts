/** A program that CRIU dumps and restores, and a copy of its files. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { copyFile, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Contest, Task } from './contender.js'
import { CriuShell } from './criu-shell.js'
import { NamedPipes } from './named-pipes.js'
import { copyTree, isEmpty, newPlace, replaceTree, underWay } from './place.js'
import { find, mustBeRoot, versionOf } from './run.js'

/** Where the program runs. What is run is a shell's, whose directory is the place of the contest. */
export interface Setting {
  readonly name: string
  /** Where the program sees that directory. */
  seenAt(place: string): string
  /** What is run before, if anything. */
  readonly prepare?: string
  /** What becomes the program, or else the parent of the only process that does. The program's command is in `$@`. */
  readonly start: string
  readonly startsParent: boolean
  /** Options of CRIU. */
  readonly dump: string
  readonly restore: string
}

/** The name of a directory. */
type Dumped = string

class CriuContest implements Contest {
  readonly version: string
  readonly #place: string
  readonly #workspace: string
  readonly #setting: Setting
  readonly #pipes: NamedPipes
  readonly #shell: CriuShell
  /** Of what runs. */
  #pid: number | undefined
  #dumps = 0

  constructor(criu: string, version: string, setting: Setting, { args }: Task) {
    this.version = version
    this.#place = newPlace(setting.name)
    this.#workspace = path.join(this.#place, 'workspace')
    this.#setting = setting
    this.#pipes = new NamedPipes(this.#place)
    const seen = setting.seenAt(this.#place)
    const command = ['python3', path.join(seen, 'program.py'), path.join(seen, 'workspace'), ...args]
    this.#shell = new CriuShell(this.#place, criu, command)
  }

  async start({ program, workspace }: Task): Promise<void> {
    await copyFile(program, path.join(this.#place, 'program.py'))
    await copyTree(workspace, this.#workspace)
    await this.#shell.begin()
    if (this.#setting.prepare) await this.#shell.run(this.#setting.prepare)
    const started = await this.#shell.start(this.#setting.start)
    await this.#pipes.talk.next()
    this.#pid = this.#setting.startsParent ? await this.#shell.onlyChildOf(started) : started
  }

  ask(line: string): Promise<string> {
    return this.#pipes.talk.ask(line)
  }

  act(line: string): Promise<string> {
    return this.ask(line)
  }

  /** Nobody writes to the files meanwhile. */
  async checkpoint(): Promise<Dumped> {
    const dumped = await this.dump()
    if (!isEmpty(this.#workspace)) await copyTree(this.#workspace, path.join(this.#place, dumped, 'files'))
    return dumped
  }

  async restore(kept: unknown): Promise<void> {
    const dumped = kept as Dumped
    await this.#kill()
    const files = path.join(this.#place, dumped, 'files')
    if (existsSync(files)) await replaceTree(files, this.#workspace)
    const pidFile = path.join(this.#place, dumped, 'pid')
    await rm(pidFile, { force: true })
    const options = `--images-dir ${dumped} --log-file restore.log --pidfile pid --restore-detached`
    await this.#shell.run(`"$CRIU" restore ${options} ${this.#setting.restore}`)
    this.#pid = Number(await readFile(pidFile, 'utf8'))
  }

  /** The process alone: to go back to it leaves the files as they are. */
  async dump(): Promise<Dumped> {
    this.#dumps += 1
    const dumped = `dump${this.#dumps}`
    mkdirSync(path.join(this.#place, dumped))
    const options = `--tree ${this.#pid} --leave-running --images-dir ${dumped} --log-file dump.log`
    await this.#shell.run(`"$CRIU" dump ${options} ${this.#setting.dump}`)
    return dumped
  }

  async forget(kept: unknown): Promise<void> {
    await rm(path.join(this.#place, kept as Dumped), { recursive: true, force: true })
  }

  async end(): Promise<void> {
    await this.#shell.end()
    this.#pipes.close()
    await rm(this.#place, { recursive: true, force: true })
  }

  /** What has been complained of. */
  complaints(): string[] {
    const logs = ['dump', 'restore'].map((step) => `dump${this.#dumps}/${step}.log`)
    const lines = (file: string): string[] => {
      const there = path.join(this.#place, file)
      return existsSync(there) ? readFileSync(there, 'utf8').trim().split('\n') : []
    }
    return [...lines('errors'), ...logs.flatMap(lines).filter((line) => line.includes('Error'))]
  }

  async #kill(): Promise<void> {
    if (this.#pid !== undefined) await this.#shell.kill(this.#pid)
    this.#pid = undefined
  }
}

/** Only what has been dumped and restored once will do. */
export async function beginWithCriu(task: Task, setting: Setting): Promise<Contest> {
  mustBeRoot()
  const criu = find('criu')
  return await underWay(new CriuContest(criu, await versionOf(criu), setting, task), async (contest) => {
    try {
      await contest.start(task)
      const dumped = await contest.dump()
      await contest.restore(dumped)
      await contest.forget(dumped)
    } catch (error) {
      const check = spawnSync(criu, ['check'], { encoding: 'utf8' })
      const told = [...contest.complaints(), `criu check: ${check.stdout}${check.stderr}`.trim()]
      throw new Error([`${criu}: ${error}`, ...told].join('\n  '), { cause: error })
    }
  })
}
