/** Many sandboxes of one checkpoint, each of which is verified. */
import type { CommandHandle, Sandbox } from 'deltabox'
import { mustBe, workerIn } from '../inside/worker.js'
import type { Recorder, Samples } from '../recorder.js'
import type { Parameters } from '../results.js'
import { rested, type Sdk } from '../suite.js'
import type { State } from './steps.js'

/** What the daemon answers, of which the SDK passes on the sandboxes alone. */
interface Forked {
  readonly sandboxes: readonly { readonly id: string }[]
  readonly timings: Readonly<Record<string, number>>
}

const CALL =
  'from the request, as the SDK makes it, until all are there; the phases are those of all of them together; each child is verified afterwards'
const FIRST = 'nobody has forked that checkpoint before'
const AGAIN =
  'as many were forked of that checkpoint before and have ended, and as many were made ready since'

export interface ForkOptions {
  readonly group: string
  readonly parameters: Parameters
  /** Of the worker in the sandbox they are forked from. */
  readonly handle: CommandHandle
  /** What is done in each of them before the worker is asked. */
  readonly before?: (kid: Sandbox) => Promise<unknown>
}

export class Forks {
  readonly #sdk: Sdk
  readonly #record: Recorder
  readonly #options: ForkOptions

  constructor(sdk: Sdk, record: Recorder, options: ForkOptions) {
    this.#sdk = sdk
    this.#record = record
    this.#options = options
  }

  async first(state: State, count: number): Promise<void> {
    await this.#fork(this.#samples(`fork-${count}-first`, `${CALL}; ${FIRST}`), state, count)
  }

  /** After `first`. */
  async again(state: State, count: number): Promise<void> {
    await this.#fork(this.#samples(`fork-${count}`, `${CALL}; ${AGAIN}`), state, count)
  }

  /** After `first`. */
  async untilAnswered({ checkpoint, answer }: State, count: number): Promise<void> {
    await rested(count)
    const timer = `from the call of the SDK until the worker in each child has answered, rightly; ${AGAIN}`
    let kids: readonly Sandbox[] = []
    await this.#samples(`fork-${count}-answered`, timer).time(async () => {
      kids = await checkpoint.fork(count)
      await Promise.all(kids.map((kid) => this.#verify(kid, answer)))
    })
    await Promise.all(kids.map((kid) => kid.kill()))
  }

  #samples(operation: string, timer: string): Samples {
    const { group, parameters } = this.#options
    return this.#record.samples({ group, system: 'deltabox', operation, parameters, unit: 'ms', timer })
  }

  async #fork(samples: Samples, { checkpoint, answer }: State, count: number): Promise<void> {
    const { Client, Sandbox } = this.#sdk
    const path = `/v1/checkpoints/${checkpoint.id}/fork`
    await rested(count)
    const started = performance.now()
    try {
      const { sandboxes, timings } = await Client.default().json<Forked>({
        method: 'POST',
        path,
        json: { count },
      })
      const ms = performance.now() - started
      const kids = await Promise.all(sandboxes.map(({ id }) => Sandbox.connect(id)))
      try {
        for (const kid of kids) await this.#options.before?.(kid)
        for (const kid of kids) await this.#verify(kid, answer)
      } finally {
        await Promise.all(kids.map((kid) => kid.kill()))
      }
      samples.add(ms, timings)
    } catch (error) {
      samples.fail(error)
    }
  }

  async #verify(kid: Sandbox, answer: number): Promise<void> {
    const worker = workerIn(await kid.commands.connect(this.#options.handle.process))
    mustBe(await worker.ask('turns'), answer)
  }
}
