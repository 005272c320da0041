/** Checkpoints of a sandbox and rollbacks to them, what runs in it verified each time. */
import type { Checkpoint, Sandbox } from 'deltabox'
import { mustBe } from '../inside/worker.js'
import type { Recorder, Samples } from '../recorder.js'
import type { Parameters, Unit } from '../results.js'
import { CALL, settle, until } from '../suite.js'

/**
 * So many checkpoints ago that nothing stands ready for it: the daemon sees to that for the eight states that were used last,
 * and each round uses two.
 */
const LONG_AGO = 8

const ANSWER = 'from the call of the SDK until what runs in the sandbox has answered, rightly'
const FROM = {
  'rollback-template': 'its processes are forked of what is kept in memory',
  'rollback-spare': 'copies of its processes were made ready before',
}

/** What runs in a sandbox. */
export interface Subject {
  readonly box: Sandbox
  /** Lets it change something, and gives what it has to answer from then on. */
  change(): Promise<number>
  answer(): Promise<number>
}

export interface State {
  readonly checkpoint: Checkpoint
  readonly answer: number
}

export class Steps {
  readonly #record: Recorder
  readonly #group: string
  readonly #parameters: Parameters
  readonly #subject: Subject
  /** In which templates are made ready: agents pause for longer. */
  readonly #restMs: number
  /** The latest last. */
  readonly #states: State[] = []

  constructor(
    record: Recorder,
    {
      group,
      parameters,
      subject,
      restMs = 60,
    }: {
      readonly group: string
      readonly parameters: Parameters
      readonly subject: Subject
      readonly restMs?: number
    },
  ) {
    this.#record = record
    this.#group = group
    this.#parameters = parameters
    this.#subject = subject
    this.#restMs = restMs
  }

  samples(operation: string, timer: string, unit: Unit = 'ms'): Samples {
    const key = { group: this.#group, system: 'deltabox', parameters: this.#parameters }
    return this.#record.samples({ ...key, operation, unit, timer })
  }

  /** The first checkpoint has everything to copy, and large processes need a while until all is ready: nothing of it is recorded. */
  async begin(): Promise<void> {
    while (this.#states.length < LONG_AGO) {
      await this.keep()
      await settle()
    }
    await this.#stored()
    await this.#back(this.#last(1), false)
  }

  /** Its images are written when its templates are complete. */
  async #stored(): Promise<void> {
    const { box } = this.#subject
    await until(async () => (await box.checkpoints()).every(({ state }) => state === 'durable'))
    await settle(this.#restMs)
  }

  #last(which: number): State {
    const state = this.#states.at(-which)
    if (!state) throw new Error('it has not begun')
    return state
  }

  /** After a rollback: what has changed since is told from what the processes still share with what they were forked of. */
  async checkpoint(): Promise<State | undefined> {
    return await this.#checkpoint('checkpoint', 'since a rollback')
  }

  /** After a checkpoint: the kernel tells what has changed since. */
  async nextCheckpoint(): Promise<State | undefined> {
    return await this.#checkpoint('checkpoint-next', 'since a checkpoint')
  }

  async #checkpoint(operation: string, since: string): Promise<State | undefined> {
    const { box } = this.#subject
    await settle(this.#restMs)
    const answer = await this.#subject.change()
    const checkpoint = await this.samples(operation, `${CALL}; the first ${since}`).time(() =>
      box.checkpoint(),
    )
    if (!checkpoint) return undefined
    const blocking = `how long the processes of the sandbox stood still, as the engine measures it; the first ${since}`
    this.samples(`${operation}-blocking`, blocking).add(checkpoint.blockingMs, checkpoint.timings)
    const state = { checkpoint, answer }
    this.#states.push(state)
    return state
  }

  /** What runs waits by then, and has been taken so. */
  async checkpointOfNothing(): Promise<void> {
    const samples = this.samples('checkpoint-unchanged', `${CALL}; nothing has changed since the last one`)
    await settle(this.#restMs)
    await this.#subject.box.checkpoint()
    await settle(this.#restMs)
    const started = performance.now()
    const { unchanged } = await this.#subject.box.checkpoint()
    const ms = performance.now() - started
    if (unchanged) samples.add(ms)
    else samples.fail(new Error('something had changed'))
  }

  /** A spare of the last one is likely to stand. */
  async toLast(): Promise<void> {
    await this.#back(this.#last(1), true)
  }

  async toEarlier(): Promise<void> {
    await this.#back(this.#last(1 + LONG_AGO), true)
  }

  /** Another one, of which nothing is recorded. */
  async keep(): Promise<State> {
    const answer = await this.#subject.change()
    const state = { answer, checkpoint: await this.#subject.box.checkpoint() }
    this.#states.push(state)
    return state
  }

  /** Nothing of it stays. */
  async end(): Promise<void> {
    for (const { checkpoint } of this.#states.splice(0)) await checkpoint.delete()
  }

  async #back({ checkpoint, answer }: State, recorded: boolean): Promise<void> {
    const { box } = this.#subject
    await this.#subject.change()
    await settle(this.#restMs)
    try {
      const started = performance.now()
      const { source, timings } = await box.rollback(checkpoint)
      const returned = performance.now() - started
      mustBe(await this.#subject.answer(), answer)
      const answered = performance.now() - started
      if (source !== 'template') throw new Error(`it was made from ${source}`)
      if (!recorded) return
      const rollback = this.#rollback(timings.fork === 0 ? 'rollback-spare' : 'rollback-template')
      rollback.returned.add(returned, timings)
      rollback.answered.add(answered)
    } catch (error) {
      // Nobody knows which it would have been.
      this.#rollback('rollback-template').returned.fail(error)
    }
  }

  #rollback(operation: keyof typeof FROM): { returned: Samples; answered: Samples } {
    const before = `${FROM[operation]}; nothing was asked for ${this.#restMs} ms before`
    return {
      returned: this.samples(operation, `${CALL}; ${before}; verified afterwards`),
      answered: this.samples(`${operation}-answered`, `${ANSWER}; ${before}`),
    }
  }
}
