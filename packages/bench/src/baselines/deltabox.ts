/** DeltaBox, in the terms of the others. */
import { readFileSync } from 'node:fs'
import type { Checkpoint, Sandbox } from 'deltabox'
import { linesOf } from '../inside/lines.js'
import { Talk } from '../inside/talk.js'
import type { Contender, Contest, Task } from './contender.js'
import { underWay } from './place.js'

class DeltaBox implements Contest {
  readonly #box: Sandbox
  #talk: Talk | undefined

  constructor(box: Sandbox) {
    this.#box = box
  }

  async start({ workspace, program, args }: Task): Promise<void> {
    const file = '/opt/program.py'
    await this.#box.files.write(file, readFileSync(program))
    const handle = await this.#box.commands.start(['python3', file, workspace, ...args], { stdin: true })
    this.#talk = new Talk((line) => handle.sendStdin(line), linesOf(handle))
    await this.#talk.next()
  }

  ask(line: string): Promise<string> {
    if (!this.#talk) throw new Error('the program does not run')
    return this.#talk.ask(line)
  }

  act(line: string): Promise<string> {
    return this.ask(line)
  }

  checkpoint(): Promise<Checkpoint> {
    return this.#box.checkpoint()
  }

  async restore(kept: unknown): Promise<void> {
    await this.#box.rollback(kept as Checkpoint)
  }

  async forget(kept: unknown): Promise<void> {
    await (kept as Checkpoint).delete()
  }

  async end(): Promise<void> {
    await this.#box.kill({ checkpoints: true })
  }
}

export const deltabox: Contender = {
  name: 'deltabox',
  about: 'a sandbox with all its processes and files',
  bringsMemoryBack: true,
  begin: async (task) => {
    // Only now does the environment say for certain where the daemon is.
    const { Sandbox } = await import('deltabox')
    const box = await Sandbox.create({ workspace: task.workspace })
    return await underWay(new DeltaBox(box), (contest) => contest.start(task))
  },
}
