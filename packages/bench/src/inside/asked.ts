/** A program that answers each line with one that begins with the same number. */
import type { CommandHandle, Sandbox } from 'deltabox'
import { linesOf } from './lines.js'

let lastQuestion = 0

export class Asked {
  readonly #handle: CommandHandle
  readonly #lines: AsyncIterator<string>

  constructor(handle: CommandHandle) {
    this.#handle = handle
    this.#lines = linesOf(handle)
  }

  /** The same one in a fork, or after it had ended. */
  async in(box: Sandbox): Promise<Asked> {
    return new Asked(await box.commands.connect(this.#handle.process))
  }

  /** What was said to others before is passed over. */
  async ask(question: string, ...more: readonly unknown[]): Promise<string> {
    lastQuestion += 1
    const number = String(lastQuestion)
    await this.#handle.sendStdin(`${[question, number, ...more].join(' ')}\n`)
    for (;;) {
      const { value, done } = await this.#lines.next()
      if (done) throw new Error('the program has ended')
      const [first, ...answer] = value.split(' ')
      if (first === number) return answer.join(' ')
    }
  }
}
