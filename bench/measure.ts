/** What every benchmark needs: a daemon of its own, medians, the machine. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { cpus, loadavg, release, tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Row {
  readonly what: string
  readonly median: number
  readonly p95: number
  readonly unit: string
}

export function summary(what: string, samples: readonly number[], unit = 'ms'): Row {
  const sorted = samples.toSorted((a, b) => a - b)
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
  return { what, median: at(0.5), p95: at(0.95), unit }
}

/** What SPECIFICATION.md bounds it by. */
export function promised(name: string): number {
  const text = readFileSync(new URL('../SPECIFICATION.md', import.meta.url), 'utf8')
  const bound = new RegExp(`^\\| \`${name}\` .*\\|\\s*([\\d.]+) \\|$`, 'm').exec(text)?.[1]
  if (bound === undefined) throw new Error(`SPECIFICATION.md promises nothing about ${name}`)
  return Number(bound)
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

export function print(rows: readonly Row[]): void {
  for (const { what, median, p95, unit } of rows) {
    process.stdout.write(
      `${what.padEnd(52)} ${median.toFixed(2).padStart(9)} ${unit.padEnd(4)} p95 ${p95.toFixed(2)}\n`,
    )
  }
}

export function printMachine(): void {
  process.stdout.write(
    `Linux ${release()}, ${cpus().length} x ${cpus()[0]?.model}, load ${loadavg()[0]?.toFixed(2)}\n\n`,
  )
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
