import { CommanderError } from 'commander'
import { DeltaBoxError, type ErrorCode } from 'deltabox'

const STATUS_FAILED = 1
const STATUS_DELTABOX_FAILED = 125
const STATUS_NOT_EXECUTABLE = 126
const STATUS_NOT_FOUND = 127

/** Commands whose status is that of what they run: their own failures have reserved ones, as docker's. */
const RUNNERS = new Set(['run', 'exec', 'shell'])

/** One JSON document on stdout, which is then all there is. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}

export function printLines(lines: readonly string[]): void {
  if (lines.length > 0) process.stdout.write(`${lines.join('\n')}\n`)
}

/** Names from inside may hold anything; a terminal must not act on it. */
export function printable(name: string): string {
  return name.replace(/\p{Cc}/gu, '?')
}

export function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`
}

/** Of a checkpoint whose processes could not be brought back. */
export function warnOfLost(checkpoint: string, lost: number): void {
  if (lost === 0) return
  const what = counted(lost, 'process', 'processes')
  process.stderr.write(
    `deltabox: files only: ${what} of ${checkpoint} ended with the engine that held them\n`,
  )
}

export function mib(bytes: number): string {
  return `${(bytes / 1024 ** 2).toFixed(1)} MiB`
}

export function gib(bytes: number): string {
  return `${(bytes / 1024 ** 3).toFixed(1)} GiB`
}

/** Columns as wide as their widest cell. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = []
  for (const row of rows) {
    for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, cell.length)
  }
  return rows.map((row) =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}

function failureStatus(code: ErrorCode, runner: boolean): number {
  if (!runner) return STATUS_FAILED
  if (code === 'command_not_found') return STATUS_NOT_FOUND
  return code === 'command_not_executable' ? STATUS_NOT_EXECUTABLE : STATUS_DELTABOX_FAILED
}

function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`
}

/** As --json shows an error. */
export function errorObject({ code, message, remedy, details }: DeltaBoxError): object {
  return { error: { code, message, remedy, details } }
}

export function errorLine({ message, remedy }: DeltaBoxError): string {
  return `deltabox: ${sentence(message)} ${remedy}\n`
}

/** Tells the error on stderr and returns the exit status. */
export function reportError(error: unknown, argv: readonly string[]): number {
  const runner = RUNNERS.has(argv[0] ?? '')
  if (error instanceof CommanderError) {
    // commander has printed it; help and version are no failures
    return error.exitCode === 0 ? 0 : runner ? STATUS_DELTABOX_FAILED : STATUS_FAILED
  }
  const known =
    error instanceof DeltaBoxError
      ? error
      : new DeltaBoxError('internal', error instanceof Error ? (error.stack ?? error.message) : String(error))
  const end = argv.indexOf('--')
  const own = end < 0 ? argv : argv.slice(0, end)
  const json = own.includes('--json')
  process.stderr.write(json ? `${JSON.stringify(errorObject(known))}\n` : errorLine(known))
  return failureStatus(known.code, runner)
}
