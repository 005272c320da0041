/** A program that keeps a number in many places of its state: what it tells is when that is of. */
import { readFileSync } from 'node:fs'
import type { CommandHandle, Sandbox } from 'deltabox'
import { linesOf } from './lines.js'

const program = readFileSync(new URL('../programs/ledger.py', import.meta.url))

let lastQuestion = 0

export class Ledger {
  readonly #handle: CommandHandle
  readonly #lines: AsyncIterator<string>

  private constructor(handle: CommandHandle) {
    this.#handle = handle
    this.#lines = linesOf(handle)
  }

  static async start(box: Sandbox): Promise<Ledger> {
    await box.files.write('/opt/ledger.py', program)
    const ledger = new Ledger(await box.commands.start(['python3', '/opt/ledger.py'], { stdin: true }))
    await ledger.tell()
    return ledger
  }

  /** The same one in a fork. */
  async in(kid: Sandbox): Promise<Ledger> {
    return new Ledger(await kid.commands.connect(this.#handle.process))
  }

  add(): Promise<string> {
    return this.#ask('add')
  }

  tell(): Promise<string> {
    return this.#ask('tell')
  }

  /** What was said to others before is passed over. */
  async #ask(what: string): Promise<string> {
    lastQuestion += 1
    const question = String(lastQuestion)
    await this.#handle.sendStdin(`${what} ${question}\n`)
    for (;;) {
      const { value, done } = await this.#lines.next()
      if (done) throw new Error('the ledger has ended')
      const [number, ...told] = value.split(' ')
      if (number === question) return told.join(' ')
    }
  }
}
