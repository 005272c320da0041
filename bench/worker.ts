/** The worker (worker.py) whose states are measured. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { CommandHandle, Sandbox } from 'deltabox'
import { linesOf } from '../tests/cr/support/lines.js'

export const program: string = fileURLToPath(new URL('worker.py', import.meta.url))

/** One line for each line. */
export class Worker {
  readonly #send: (line: string) => Promise<void>
  readonly #lines: AsyncIterator<string>

  constructor(send: (line: string) => Promise<void>, lines: AsyncIterator<string>) {
    this.#send = send
    this.#lines = lines
  }

  async ask(line: string): Promise<number> {
    await this.#send(`${line}\n`)
    return Number(await this.next())
  }

  async next(): Promise<string> {
    const { value, done } = await this.#lines.next()
    if (done) throw new Error('the worker has ended')
    return value
  }
}

export function workerIn(handle: CommandHandle): Worker {
  return new Worker((line) => handle.sendStdin(line), linesOf(handle))
}

export async function inside(
  box: Sandbox,
  megabytes: number,
): Promise<{ handle: CommandHandle; worker: Worker }> {
  await box.files.write('/opt/worker.py', readFileSync(program))
  const handle = await box.commands.start(['python3', '/opt/worker.py', String(megabytes)], { stdin: true })
  const worker = workerIn(handle)
  await worker.next()
  return { handle, worker }
}

export function mustBe(turns: number, wanted: number): void {
  if (turns !== wanted) throw new Error(`the worker has made ${turns} turns instead of ${wanted}`)
}
