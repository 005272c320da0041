/** What every benchmark needs: a daemon of its own, medians, the machine. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { cpus, loadavg, release, tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Row {
  readonly what: string
  readonly median: number
  readonly unit: string
  readonly p95?: number
  /** What SPECIFICATION.md promises about it. */
  readonly atMost?: number
}

export function summary(
  what: string,
  samples: readonly number[],
  unit = 'ms',
): Row & { readonly p95: number } {
  const sorted = samples.toSorted((a, b) => a - b)
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
  return { what, median: at(0.5), p95: at(0.95), unit }
}

/** What SPECIFICATION.md bounds it by. */
function promised(name: string): number {
  const text = readFileSync(new URL('../SPECIFICATION.md', import.meta.url), 'utf8')
  const bound = new RegExp(`^\\| \`${name}\` .*\\|\\s*([\\d.]+) \\|$`, 'm').exec(text)?.[1]
  if (bound === undefined) throw new Error(`SPECIFICATION.md promises nothing about ${name}`)
  return Number(bound)
}

/** What is measured against SPECIFICATION.md. A short form has few samples and may run beside others: it may be `margin` times over. */
export class Promises {
  readonly #margin: number
  readonly #broken: string[] = []

  constructor(margin: number) {
    this.#margin = margin
  }

  compare(promise: string, what: string, ratio: number): Row {
    const atMost = promised(promise)
    if (!(ratio <= atMost * this.#margin)) {
      this.#broken.push(`${promise}: ${ratio.toFixed(2)}, promised ${atMost}`)
    }
    return { what: `${promise}: ${what}`, median: ratio, unit: 'x', atMost }
  }

  /** Says which are broken, and lets the program fail. */
  conclude(): void {
    if (this.#broken.length === 0) return
    process.stderr.write(`\nbroken promises:\n${this.#broken.map((line) => `  ${line}\n`).join('')}`)
    process.exitCode = 1
  }
}

export async function timed(action: () => Promise<unknown>): Promise<number> {
  const started = performance.now()
  await action()
  return performance.now() - started
}

export async function repeat(times: number, sample: () => Promise<number>): Promise<number[]> {
  const samples: number[] = []
  for (let round = 0; round < times; round++) samples.push(await sample())
  return samples
}

export interface Results {
  readonly rows: readonly Row[]
  /** What the rows do not say about themselves. */
  readonly notes?: readonly string[]
  /** What was not measured, and why. */
  readonly skipped?: readonly string[]
}

/** As text, or with `--json` as that. */
export function print({ rows, notes = [], skipped = [] }: Results): void {
  const machine = { linux: release(), cpus: cpus().length, cpu: cpus()[0]?.model, load: loadavg() }
  for (const one of skipped) process.stderr.write(`\nSKIPPED: ${one}\n\n`)
  if (process.argv.includes('--json')) {
    process.stdout.write(`${JSON.stringify({ machine, rows, notes, skipped }, null, 2)}\n`)
    return
  }
  const load = machine.load[0]?.toFixed(2)
  process.stdout.write(`Linux ${machine.linux}, ${machine.cpus} x ${machine.cpu}, load ${load}\n\n`)
  for (const { what, median, unit, p95, atMost } of rows) {
    const beside = atMost === undefined ? `p95 ${p95?.toFixed(2)}` : `at most ${atMost}`
    process.stdout.write(`${what.padEnd(52)} ${median.toFixed(2).padStart(9)} ${unit.padEnd(4)} ${beside}\n`)
  }
  for (const note of notes) process.stdout.write(`\n${note}\n`)
}

/** The daemon of this run lives in a fresh directory; the SDK is imported only once the environment says so. */
export async function withOwnDaemon(
  run: (sdk: typeof import('deltabox')) => Promise<void>,
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'dbb-'))
  Object.assign(process.env, {
    DELTABOX_DATA: join(directory, 'data'),
    DELTABOX_RUN: join(directory, 'run'),
    ...env,
  })
  const sdk = await import('deltabox')
  try {
    await run(sdk)
  } finally {
    for (const { id } of await sdk.Sandbox.list()) {
      await (await sdk.Sandbox.connect(id)).kill({ checkpoints: true })
    }
    await sdk.Client.default().shutdown()
    rmSync(directory, { recursive: true, force: true })
  }
}
