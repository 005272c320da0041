import type { Sandbox } from 'deltabox'
import { expect, it } from 'vitest'
import { Steps } from '../src/micro/steps.js'
import { Recorder } from '../src/recorder.js'

/** A sandbox whose program counts, and forgets what came after a checkpoint it goes back to. */
class Counter {
  count = 0
  /** How long a rollback says that it forked. */
  forkMs = 0
  forgets = true
  readonly #kept = new Map<string, number>()

  get subject(): ConstructorParameters<typeof Steps>[1]['subject'] {
    const change = async (): Promise<number> => ++this.count
    return { box: this as unknown as Sandbox, change, answer: async () => this.count }
  }

  async checkpoint(): Promise<object> {
    const id = `cp-${this.#kept.size}`
    this.#kept.set(id, this.count)
    return { id, blockingMs: 1, timings: { freeze: 0.5 }, state: 'durable' }
  }

  async checkpoints(): Promise<readonly object[]> {
    return [{ state: 'durable' }]
  }

  async rollback({ id }: { id: string }): Promise<object> {
    if (this.forgets) this.count = this.#kept.get(id) ?? Number.NaN
    return { source: 'template', timings: { fork: this.forkMs } }
  }
}

interface Begun {
  readonly counter: Counter
  readonly steps: Steps
  samplesOf(operation: string): number | undefined
  readonly record: Recorder
}

async function begun(): Promise<Begun> {
  const counter = new Counter()
  const record = new Recorder()
  const steps = new Steps(record, { group: 'g', parameters: {}, subject: counter.subject, restMs: 0 })
  await steps.begin()
  const samplesOf = (operation: string): number | undefined =>
    record.recorded.series.find((one) => one.operation === operation)?.samples.length
  return { counter, steps, samplesOf, record }
}

it('nothing is recorded of what is done at the beginning', async () => {
  expect((await begun()).record.recorded.series).toEqual([])
})

it('a rollback is told apart by whether it had to fork', async () => {
  const { counter, steps, samplesOf } = await begun()
  await steps.toLast()
  expect([samplesOf('rollback-spare'), samplesOf('rollback-template')]).toEqual([1, undefined])
  counter.forkMs = 0.7
  await steps.checkpoint()
  await steps.toEarlier()
  expect([samplesOf('rollback-spare'), samplesOf('rollback-template')]).toEqual([1, 1])
  expect([samplesOf('rollback-spare-answered'), samplesOf('rollback-template-answered')]).toEqual([1, 1])
})

it('a rollback after which the program answers wrongly is a failure and no sample', async () => {
  const { counter, steps, record } = await begun()
  counter.forgets = false
  await steps.toLast()
  const [series] = record.recorded.series
  expect(series).toMatchObject({ operation: 'rollback-template', samples: [] })
  expect(series?.failures).toEqual([expect.stringContaining('turns instead of')])
})

it('a checkpoint tells how long processes stood still, and its steps with that', async () => {
  const { steps, record } = await begun()
  await steps.checkpoint()
  await steps.nextCheckpoint()
  const blocking = record.recorded.series.filter(({ operation }) => operation.endsWith('-blocking'))
  expect(blocking.map(({ operation, samples, phases }) => [operation, samples, phases])).toEqual([
    ['checkpoint-blocking', [1], { freeze: [0.5] }],
    ['checkpoint-next-blocking', [1], { freeze: [0.5] }],
  ])
})

it('a checkpoint that was to find nothing changed and did is a failure', async () => {
  const { steps, record } = await begun()
  await steps.checkpointOfNothing()
  expect(record.recorded.series[0]).toMatchObject({
    operation: 'checkpoint-unchanged',
    samples: [],
    failures: ['Error: something had changed'],
  })
})
