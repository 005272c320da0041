/** What a program is talked with through that is ended and comes back: it opens them again by their names. */
import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { Socket } from 'node:net'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { Talk } from '../inside/talk.js'

export class NamedPipes {
  readonly talk: Talk
  readonly #questions: number
  readonly #answers: Socket

  /** Makes `in` and `out`. */
  constructor(directory: string) {
    const [input, output] = ['in', 'out'].map((name) => path.join(directory, name)) as [string, string]
    execFileSync('mkfifo', [input, output])
    // Opened for both directions, so that no opening waits, and what is read ends with this process and not with the program.
    const flags = constants.O_RDWR | constants.O_NONBLOCK
    this.#questions = openSync(input, flags)
    this.#answers = new Socket({ fd: openSync(output, flags), readable: true, writable: false })
    const lines = createInterface({ input: this.#answers })[Symbol.asyncIterator]()
    this.talk = new Talk((line) => writeSync(this.#questions, line), lines)
  }

  close(): void {
    this.#answers.destroy()
    closeSync(this.#questions)
  }
}
