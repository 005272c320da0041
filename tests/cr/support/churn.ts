/** A busy worker (programs/churn.py): what it has in memory and in files, and what that adds up to. */
import { readFileSync } from 'node:fs'
import { linesOf } from '@deltabox/bench/inside'
import type { Client, CommandHandle } from 'deltabox'
import { Sandbox } from 'deltabox'

const program = readFileSync(new URL('../programs/churn.py', import.meta.url))

export class Churn {
  readonly box: Sandbox
  readonly #handle: CommandHandle
  readonly #lines: AsyncIterator<string>
  static #asked = 0

  private constructor(box: Sandbox, handle: CommandHandle) {
    this.box = box
    this.#handle = handle
    this.#lines = linesOf(handle)
  }

  /** In a new sandbox, with so many half megabytes. */
  static async start(client: Client, blocks: number): Promise<Churn> {
    const box = await Sandbox.create({ client })
    await box.files.write('/opt/churn.py', program)
    const command = ['python3', '/opt/churn.py', String(blocks)]
    return new Churn(box, await box.commands.start(command, { stdin: true }))
  }

  static async in(box: Sandbox, process: string): Promise<Churn> {
    return new Churn(box, await box.commands.connect(process))
  }

  /** The command's id, which it has in forks too. */
  get process(): string {
    return this.#handle.process
  }

  /** Whoever connects anew may be told again what was told before: each question has a token. */
  async #ask(question: string): Promise<number> {
    const token = `t${++Churn.#asked}`
    await this.#handle.sendStdin(`${token} ${question}\n`)
    for (;;) {
      const { value, done } = await this.#lines.next()
      if (done) throw new Error(`the worker in ${this.box.id} has ended`)
      const [told, answer] = value.split(' ')
      if (told === token) return Number(answer)
    }
  }

  /** Changes memory and files as the number says; gives how many bytes. */
  step(number: number): Promise<number> {
    return this.#ask(`step ${number}`)
  }

  digest(): Promise<number> {
    return this.#ask('digest')
  }
}
