/** Whether everything that checkpoints need is there and is what was written; and repairing what can be. */
import type { CheckStore, StoreProblem, StoreReport } from '@deltabox/protocol'
import type { State } from '../state.js'
import { examineCheckpoints } from './checkpoints.js'
import { examineImages } from './images.js'
import { examineLayers } from './layers.js'
import { examineReferences } from './references.js'
import { examineStrays } from './strays.js'
import { type Examination, type Finding, type Subject, subjectOf } from './subject.js'
import { surveyOf } from './survey.js'

/** Of a running daemon: one at a time. */
export function examineOwnStore(state: State, request: CheckStore): Promise<StoreReport> {
  return state.serial.run('store', () => examineStore(subjectOf(state, state), request))
}

export async function examineStore(subject: Subject, { repair = false }: CheckStore): Promise<StoreReport> {
  const examinations = await examineAll(subject)
  const problems: StoreProblem[] = []
  for (const { name, findings } of examinations) {
    for (const found of findings) problems.push(await settle(name, found, repair))
  }
  const checks = examinations.map(({ name, detail }) => {
    const own = problems.filter(({ check }) => check === name)
    return { name, ok: own.every(({ repaired }) => repaired), detail: `${detail}${told(own)}` }
  })
  return { ok: checks.every(({ ok }) => ok), checks, problems }
}

/** In the order in which they are repaired: images come back, or are lost, before what names them is looked at. */
async function examineAll(subject: Subject): Promise<Examination[]> {
  const survey = surveyOf(subject.store)
  return [
    await examineLayers(subject, survey),
    await examineImages(subject, survey),
    examineCheckpoints(subject, survey),
    await examineReferences(subject, survey),
    await examineStrays(subject, survey),
  ]
}

async function settle(check: string, found: Finding, isWanted: boolean): Promise<StoreProblem> {
  const { repair, ...problem } = found
  if (!isWanted || !repair) return { check, ...problem, repaired: false }
  try {
    await repair()
    return { check, ...problem, repaired: true }
  } catch (error) {
    const detail = `${problem.detail}; not repaired: ${(error as Error).message}`
    return { check, ...problem, detail, repaired: false }
  }
}

function told(problems: readonly StoreProblem[]): string {
  if (problems.length === 0) return ''
  const repaired = problems.filter((problem) => problem.repaired).length
  const many = problems.length === 1 ? '1 problem' : `${problems.length} problems`
  return `; ${many}, ${repaired} repaired`
}
