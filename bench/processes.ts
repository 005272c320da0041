/** What a checkpoint, a rollback and a fork of a running process cost, beside a bare fork of a process of its size. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Forked } from '@deltabox/protocol'
import type { CommandHandle, Sandbox } from 'deltabox'
import { Promises, print, type Row, summary, timed, withOwnDaemon } from './measure.js'
import { inside, mustBe, program, Worker, workerIn } from './worker.js'

type Sdk = typeof import('deltabox')

const short = process.argv.includes('--short')
const ROUNDS = short ? 9 : 41
const FORK_ROUNDS = short ? 3 : 9
const SMALL_MB = 50
const LARGE_MB = short ? 256 : 1024
/** Templates of large processes are made ready in the background. */
const READY_MS = short ? 500 : 3000

const directory = mkdtempSync(join(tmpdir(), 'dbb-worker-'))
const library = join(directory, 'fork.so')
/** A short form has few samples and may run beside other tests. */
const MARGIN = short ? 4 : 1
const rows: Row[] = []
const promises = new Promises(MARGIN)

const outsiders: ChildProcess[] = []

/** The same process on the host, which forks itself. */
async function outside(megabytes: number): Promise<Worker> {
  const child = spawn('python3', [program, String(megabytes), library], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  outsiders.push(child)
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const worker = new Worker(async (line) => void child.stdin.write(line), lines)
  await worker.next()
  return worker
}

class Samples {
  readonly #samples = new Map<string, number[]>()

  add(what: string, ms: number): void {
    const samples = this.#samples.get(what)
    if (samples) samples.push(ms)
    else this.#samples.set(what, [ms])
  }

  addAll(prefix: string, timings: Readonly<Record<string, number>>): void {
    for (const [step, ms] of Object.entries(timings)) this.add(`${prefix}${step}`, ms)
  }

  median(what: string): number {
    return summary('', this.#samples.get(what) ?? []).median
  }

  report(): void {
    for (const [what, samples] of this.#samples) rows.push(summary(what, samples))
  }
}

/** How much of what is allowed beside a number of bare forks was needed. */
function against(what: string, ms: number, own: number, forks: number, bare: number): void {
  const allowed = own + forks * bare
  rows.push(promises.compare(what, `of ${own} ms + ${forks} bare forks`, ms / allowed))
}

/** Cells and templates are made ready while nothing is asked. */
async function settle(ms = 60): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms))
}

async function backAndForth(
  box: Sandbox,
  worker: Worker,
  bare: Worker,
  samples: Samples,
  name: string,
): Promise<void> {
  await settle()
  samples.add(`${name} bare fork`, await bare.ask('fork'))
  const turns = await worker.ask('turn')
  let started = performance.now()
  const checkpoint = await box.checkpoint()
  samples.add(`${name} checkpoint, through the SDK`, performance.now() - started)
  samples.add(`${name} checkpoint, blocking`, checkpoint.blockingMs)
  samples.addAll(`${name}   checkpoint: `, checkpoint.timings ?? {})
  await worker.ask('turn')
  await settle()
  started = performance.now()
  const { ms, timings } = await box.rollback(checkpoint)
  samples.add(`${name} rollback, through the SDK`, performance.now() - started)
  samples.add(`${name} rollback, as the daemon measures it`, ms)
  samples.addAll(`${name}   rollback: `, timings)
  samples.add(
    `${name} first answer after it`,
    await timed(async () => mustBe(await worker.ask('turns'), turns)),
  )
}

interface Case {
  readonly name: string
  readonly box: Sandbox
  readonly handle: CommandHandle
  readonly worker: Worker
  readonly bare: Worker
}

async function begin({ Sandbox }: Sdk, megabytes: number): Promise<Case> {
  const box = await Sandbox.create({ memory: '4g' })
  const { handle, worker } = await inside(box, megabytes)
  const bare = await outside(megabytes)
  const one = { name: `${megabytes} MB:`, box, handle, worker, bare }
  await backAndForth(box, worker, bare, new Samples(), '') // the first checkpoint has everything to copy
  return one
}

async function rounds({ box, worker, bare, name }: Case, samples: Samples, count: number): Promise<void> {
  for (let round = 0; round < count; round++) await backAndForth(box, worker, bare, samples, name)
}

/** As the SDK's `fork` asks for them, with the engine's timings. */
async function forked({ Client, Sandbox }: Sdk, checkpoint: string, count: number): Promise<Forks> {
  const started = performance.now()
  const path = `/v1/checkpoints/${checkpoint}/fork`
  const { sandboxes, timings } = await Client.default().json<Forked>({
    method: 'POST',
    path,
    json: { count },
  })
  const ms = performance.now() - started
  const kids = await Promise.all(sandboxes.map((kid) => Sandbox.connect('id' in kid ? kid.id : '')))
  return { ms, kids, timings }
}

interface Forks {
  readonly ms: number
  readonly kids: readonly Sandbox[]
  readonly timings: Readonly<Record<string, number>>
}

/** Every child is verified. */
async function forks(sdk: Sdk, { box, worker, handle, bare }: Case, samples: Samples): Promise<void> {
  const turns = await worker.ask('turn')
  const origin = await box.checkpoint()
  const counts = short ? [1, 16] : [1, 16, 64]
  for (let round = 0; round < FORK_ROUNDS; round++) {
    for (const count of counts) {
      await settle(500)
      samples.add('bare fork, before a fork', await bare.ask('fork'))
      const { ms, kids, timings } = await forked(sdk, origin.id, count)
      samples.add(`fork(${count})`, ms)
      samples.addAll(`  fork(${count}), all together: `, timings)
      for (const kid of kids) {
        const copy = workerIn(await kid.commands.connect(handle.process))
        mustBe(await copy.ask('turns'), turns)
        await kid.kill()
      }
    }
  }
  const fork = samples.median('bare fork, before a fork')
  for (const count of counts.slice(1)) {
    against(`process-fork-${count}`, samples.median(`fork(${count})`), count, count, fork)
  }
}

async function measure(sdk: Sdk): Promise<void> {
  const samples = new Samples()
  const small = await begin(sdk, SMALL_MB)
  const large = await begin(sdk, LARGE_MB)
  await settle(READY_MS)
  for (let turn = 0; turn < 3; turn++) {
    await rounds(small, samples, Math.ceil(ROUNDS / 3))
    await rounds(large, samples, Math.ceil(ROUNDS / 9))
  }
  const { name } = small
  const bare = samples.median(`${name} bare fork`)
  against('process-rollback', samples.median(`${name} rollback, through the SDK`), 1.5, 1.5, bare)
  against('process-checkpoint', samples.median(`${name} checkpoint, blocking`), 2.5, 2, bare)
  const [of, to] = [large, small].map((one) => samples.median(`${one.name} rollback, through the SDK`))
  rows.push(
    promises.compare('process-rollback-size', `${LARGE_MB} MB / ${SMALL_MB} MB`, (of ?? 0) / (to ?? 1)),
  )
  await large.box.kill({ checkpoints: true })
  await forks(sdk, small, samples)
  const ratios = rows.splice(0)
  samples.report()
  rows.push(...ratios)
  await small.box.kill({ checkpoints: true })
}

execFileSync('gcc', [
  '-O2',
  '-shared',
  '-fPIC',
  '-o',
  library,
  fileURLToPath(new URL('fork.c', import.meta.url)),
])
try {
  await withOwnDaemon(measure)
} finally {
  for (const child of outsiders) child.kill()
  rmSync(directory, { recursive: true, force: true })
}
print({ rows })
promises.conclude()
