/** Many that answer as one: crew.py, whose members are threads or processes, or several of it. Together they change 2 MB between any two steps. */
import { readFileSync } from 'node:fs'
import type { Sandbox } from 'deltabox'
import { type Worker, workerIn } from '../inside/worker.js'
import { program } from '../programs.js'
import type { Parameters } from '../results.js'
import { type Bench, inTurns, type Sdk } from '../suite.js'
import { Steps, type Subject } from './steps.js'

const CHANGED_PAGES = 512
const FILE = '/opt/crew.py'
/** More processes take seconds for a round. */
const MANY = 10

export interface Crew {
  readonly kind: 'threads' | 'processes'
  /** Of programs that are started. */
  readonly programs: number
  /** Of each program. */
  readonly members: number
  /** That each member holds. */
  readonly megabytes: number
}

async function crewIn(box: Sandbox, crew: Crew): Promise<Subject> {
  const { kind, programs, members, megabytes } = crew
  const pages = Math.ceil(CHANGED_PAGES / (programs * members))
  await box.files.write(FILE, readFileSync(program('crew.py')))
  const workers: Worker[] = []
  for (let number = 0; number < programs; number++) {
    const args = [kind, members, megabytes, pages].map(String)
    const worker = workerIn(await box.commands.start(['python3', FILE, ...args], { stdin: true }))
    await worker.next()
    workers.push(worker)
  }
  const all = async (line: string): Promise<number> => {
    const [answer = Number.NaN, ...others] = await Promise.all(workers.map((worker) => worker.ask(line)))
    const differs = others.find((other) => other !== answer)
    if (differs !== undefined) throw new Error(`one answers ${answer}, another ${differs}`)
    return answer
  }
  return { box, change: () => all('turn'), answer: () => all('turns') }
}

export async function measureCrew(
  { Sandbox }: Sdk,
  { size, record }: Bench,
  crew: Crew,
  key: { readonly group: string; readonly parameters: Parameters },
): Promise<void> {
  const box = await Sandbox.create()
  const restMs = 60 + 5 * crew.programs * crew.members
  const steps = new Steps(record, { ...key, subject: await crewIn(box, crew), restMs })
  await steps.begin()
  const isSlow = crew.kind === 'processes' && crew.programs * crew.members > MANY
  const rounds = isSlow ? 8 : 20
  await inTurns(size === 'full' ? rounds : 3, [
    () => steps.checkpoint(),
    () => steps.toLast(),
    () => steps.toEarlier(),
  ])
  await box.kill({ checkpoints: true })
}
