/** Nothing is kept but what was done. */
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { Child } from './child.js'
import type { Contender, Contest, Task } from './contender.js'
import { copyTree, newPlace, replaceTree, underWay } from './place.js'

class CopyAndReplay implements Contest {
  readonly #place: string = newPlace('replay')
  readonly #pristine: string = path.join(this.#place, 'pristine')
  readonly #workspace: string = path.join(this.#place, 'workspace')
  readonly #child: Child
  #done: readonly string[] = []

  constructor({ program, args }: Task) {
    const command = ['python3', program, this.#workspace, ...args]
    this.#child = new Child(command, this.#place, path.join(this.#place, 'errors'))
  }

  async start({ workspace }: Task): Promise<void> {
    await copyTree(workspace, this.#pristine)
    await this.restore([])
  }

  ask(line: string): Promise<string> {
    return this.#child.ask(line)
  }

  async act(line: string): Promise<string> {
    const answer = await this.#child.ask(line)
    this.#done = [...this.#done, line]
    return answer
  }

  async checkpoint(): Promise<readonly string[]> {
    return this.#done
  }

  async restore(kept: unknown): Promise<void> {
    await this.#child.kill()
    await replaceTree(this.#pristine, this.#workspace)
    await this.#child.start()
    this.#done = []
    for (const line of kept as readonly string[]) await this.act(line)
  }

  async forget(): Promise<void> {}

  async end(): Promise<void> {
    await this.#child.kill()
    await rm(this.#place, { recursive: true, force: true })
  }
}

export const copyAndReplay: Contender = {
  name: 'copy-and-replay',
  about:
    'a fresh copy of the files as they were in the beginning, the program started anew, and all that was done since done again; memory comes back as far as doing it again comes to the same',
  bringsMemoryBack: true,
  begin: async (task) => await underWay(new CopyAndReplay(task), (contest) => contest.start(task)),
}
