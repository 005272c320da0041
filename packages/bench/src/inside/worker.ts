/** The worker (worker.py) whose states are measured. */
import { readFileSync } from 'node:fs'
import type { CommandHandle, Sandbox } from 'deltabox'
import { program } from '../programs.js'
import { linesOf } from './lines.js'
import { Talk } from './talk.js'

export class Worker {
  readonly #talk: Talk

  constructor(send: (line: string) => unknown, lines: AsyncIterator<string>) {
    this.#talk = new Talk(send, lines)
  }

  async ask(line: string): Promise<number> {
    return Number(await this.#talk.ask(line))
  }

  async next(): Promise<string> {
    return await this.#talk.next()
  }
}

export function workerIn(handle: CommandHandle): Worker {
  return new Worker((line) => handle.sendStdin(line), linesOf(handle))
}

export async function inside(
  box: Sandbox,
  megabytes: number,
): Promise<{ handle: CommandHandle; worker: Worker }> {
  await box.files.write('/opt/worker.py', readFileSync(program('worker.py')))
  const handle = await box.commands.start(['python3', '/opt/worker.py', '/', String(megabytes)], {
    stdin: true,
  })
  const worker = workerIn(handle)
  await worker.next()
  return { handle, worker }
}

export function mustBe(turns: number, wanted: number): void {
  if (turns !== wanted) throw new Error(`the worker has made ${turns} turns instead of ${wanted}`)
}
