/** The files as git keeps them. */
import { mkdirSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { Child } from './child.js'
import type { Contender, Contest, Task } from './contender.js'
import { copyTree, newPlace, underWay } from './place.js'
import { ENVIRONMENT, run, versionOf } from './run.js'

/** What is ignored or empty is a part of the state as well, but git knows no empty directories. */
const COMMIT =
  'git add --all --force . && git commit --quiet --allow-empty --message state && git rev-parse HEAD'
const CHECKOUT = 'git checkout --quiet --force --detach "$1" && git clean --quiet --force --force -dx'
/** Bytes stay as they are, whatever the repository in the workspace says about them. */
const AS_THEY_ARE = '* -text -ident -filter -working-tree-encoding\n'

class GitAndRestart implements Contest {
  readonly version: string
  readonly #place: string = newPlace('git')
  readonly #workspace: string = path.join(this.#place, 'workspace')
  /** Not in the workspace, where the program would see it. */
  readonly #repository: string = path.join(this.#place, 'repository')
  readonly #child: Child

  constructor(version: string, { program, args }: Task) {
    this.version = version
    const command = ['python3', program, this.#workspace, ...args]
    this.#child = new Child(command, this.#place, path.join(this.#place, 'errors'))
  }

  async start({ workspace }: Task): Promise<void> {
    await copyTree(workspace, this.#workspace)
    mkdirSync(this.#repository)
    await this.#git('git init --quiet && git config gc.auto 0')
    await writeFile(path.join(this.#repository, 'info/attributes'), AS_THEY_ARE)
    await this.#child.start()
  }

  ask(line: string): Promise<string> {
    return this.#child.ask(line)
  }

  act(line: string): Promise<string> {
    return this.ask(line)
  }

  checkpoint(): Promise<string> {
    return this.#git(COMMIT)
  }

  async restore(kept: unknown): Promise<void> {
    await this.#child.kill()
    await this.#git(CHECKOUT, kept as string)
    await this.#child.start()
  }

  async forget(): Promise<void> {}

  async end(): Promise<void> {
    await this.#child.kill()
    await rm(this.#place, { recursive: true, force: true })
  }

  async #git(script: string, ...args: readonly string[]): Promise<string> {
    const env = {
      ...ENVIRONMENT,
      GIT_DIR: this.#repository,
      GIT_WORK_TREE: this.#workspace,
      GIT_CONFIG_GLOBAL: '/dev/null',
      GIT_CONFIG_NOSYSTEM: '1',
      GIT_AUTHOR_NAME: 'bench',
      GIT_AUTHOR_EMAIL: 'bench@localhost',
      GIT_COMMITTER_NAME: 'bench',
      GIT_COMMITTER_EMAIL: 'bench@localhost',
    }
    const { stdout } = await run('sh', ['-c', script, 'sh', ...args], { cwd: this.#workspace, env })
    return stdout.trim()
  }
}

export const gitAndRestart: Contender = {
  name: 'git-and-restart',
  about:
    'git commits all files and checks them out again, without times, owners and empty directories; the program is started anew and has nothing in memory of what it had done',
  bringsMemoryBack: false,
  begin: async (task) => {
    const version = await versionOf('git').catch((error) => {
      throw new Error('there is no git; it is the package git of any distribution', { cause: error })
    })
    return await underWay(new GitAndRestart(version, task), (contest) => contest.start(task))
  },
}
