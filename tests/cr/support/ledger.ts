/** A program that keeps a number in many places of its state: what it tells is when that is of. */
import { readFileSync } from 'node:fs'
import { Asked } from '@deltabox/bench/inside'
import type { Sandbox } from 'deltabox'

const program = readFileSync(new URL('../programs/ledger.py', import.meta.url))

export class Ledger {
  readonly #asked: Asked

  private constructor(asked: Asked) {
    this.#asked = asked
  }

  /** `spare`: how many processes are beside it that may be killed. */
  static async start(box: Sandbox, spare = 6): Promise<Ledger> {
    await box.files.write('/opt/ledger.py', program)
    const command = await box.commands.start(['python3', '/opt/ledger.py', `${spare}`], { stdin: true })
    const ledger = new Ledger(new Asked(command))
    await ledger.tell()
    return ledger
  }

  /** The same one in a fork, or after it had ended. */
  async in(box: Sandbox): Promise<Ledger> {
    return new Ledger(await this.#asked.in(box))
  }

  add(): Promise<string> {
    return this.#asked.ask('add')
  }

  tell(): Promise<string> {
    return this.#asked.ask('tell')
  }
}
