/** From one checkpoint to many children that have been seen to work, each with memory and files of its own. */
import { occupation } from '@deltabox/search'
import type { Sandbox } from 'deltabox'
import type { Samples } from '../recorder.js'
import type { Unit } from '../results.js'
import { type Bench, inTurns, settle } from '../suite.js'
import { type Environment, MEGABYTES, mustBeStep, SETTLED_AFTER_MS, type World } from './environments.js'

const CHILDREN = [1, 4, 16, 64]
/** Whose pages are all compared. */
const LOOKED_AT = 4

/** What generating and training take in a synchronous step with as many children, as the paper has it. */
const MODELS: Readonly<Record<number, { readonly generationMs: number; readonly trainMs: number }>> = {
  16: { generationMs: 1822, trainMs: 1144 },
  64: { generationMs: 3289, trainMs: 4509 },
}

interface Series {
  readonly forked: Samples
  readonly verified: Samples
  readonly occupation: (sandboxMs: number) => void
}

/** The first round of all is not recorded. */
export async function fanOut(world: World, bench: Bench, rounds: number): Promise<void> {
  await inTurns(
    rounds + 1,
    CHILDREN.map((children) => {
      const series = seriesOf(bench, children)
      return (round: number) => once(world, children, round === 0 ? undefined : series)
    }),
  )
}

async function once(world: World, children: number, series: Series | undefined): Promise<void> {
  await settle(SETTLED_AFTER_MS)
  const started = performance.now()
  let boxes: Sandbox[] = []
  try {
    boxes = await world.checkpoint.fork(children)
    const forkedMs = performance.now() - started
    const environments = await Promise.all(boxes.map((box) => world.in(box)))
    await mustAnswer(environments)
    const verifiedMs = performance.now() - started
    await mustBeTheirOwn(environments)
    series?.forked.add(forkedMs)
    series?.verified.add(verifiedMs)
    series?.occupation(verifiedMs)
  } catch (error) {
    if (!series) throw error
    series.verified.fail(error)
  } finally {
    await Promise.all(boxes.map((box) => box.kill()))
  }
}

/** Each changes a page and writes a file, and is in a namespace of its own. */
async function mustAnswer(environments: readonly Environment[]): Promise<void> {
  const answers = await Promise.all(environments.map((one, index) => one.act(index)))
  for (const answer of answers) mustBeStep(answer, 1)
  const namespaces = new Set(answers.map(({ namespace }) => namespace))
  if (namespaces.size !== answers.length) {
    throw new Error(`${answers.length} children are in ${namespaces.size} namespaces`)
  }
}

/** All pages of a few of them are looked at. */
async function mustBeTheirOwn(environments: readonly Environment[]): Promise<void> {
  const every = Math.ceil(environments.length / LOOKED_AT)
  for (const [index, one] of environments.entries()) {
    if (index % every === 0) await one.mustHaveChanged([index])
  }
}

function seriesOf({ record }: Bench, children: number): Series {
  const series = (operation: string, timer: string, unit: Unit = 'ms'): Samples =>
    record.samples({
      group: 'rollouts',
      system: 'deltabox',
      ...{ operation, parameters: { children }, unit, timer },
    })
  const source = `of a worker with ${MEGABYTES} MiB`
  const checked = `that no other page or file is changed is verified afterwards, in ${LOOKED_AT} of them`
  const model = MODELS[children]
  const share =
    model &&
    series(
      'occupation',
      `(generation + training) / (sandboxes + generation + training): ${model.generationMs} and ${model.trainMs} ms as the paper has them, and fan-out-${children}-verified`,
      'x',
    )
  return {
    forked: series(`fan-out-${children}`, `${source}: from the call of the SDK to its return`),
    verified: series(
      `fan-out-${children}-verified`,
      `${source}: from the call of the SDK until each child has changed a page, written a file and answered right; ${checked}`,
    ),
    occupation: (sandboxMs) => {
      if (model) share?.add(occupation({ ...model, exposedMs: sandboxMs }))
    },
  }
}
