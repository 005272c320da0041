import { DeltaBoxError } from '@deltabox/protocol/errors'

/** How a shell is started and spoken to. */
export interface Dialect {
  readonly argv: readonly string[]
  /** Descriptors that keep the first standard output and error, for marks that `exec >file` does not carry away. */
  readonly out: number
  readonly err: number
  readonly setUp: string
}

/**
 * Interactive, because that is what an interrupt leaves alive: it ends the commands and not the shell. Without prompt,
 * history and line editing, which are for people.
 */
export const BASH: Dialect = {
  argv: ['bash', '--noprofile', '--norc', '--noediting', '-i'],
  out: 250,
  err: 251,
  setUp: 'exec 250>&1 251>&2; set +o history +H; unset HISTFILE',
}

/** A plain sh only has one-digit descriptors. */
export const SH: Dialect = { argv: ['sh', '-i'], out: 8, err: 9, setUp: 'exec 8>&1 9>&2' }

/** A script may have set a prompt, as activating a Python environment does; it would show on standard error. */
const NO_PROMPT = 'PS1= PS2= PROMPT_COMMAND='

/** Quotes so that any shell reads back exactly the text. */
function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

/** In two pieces, so that a shell that prints what it reads (`set -v`) does not print the mark. */
function spelt(mark: string): string {
  return `${mark.slice(0, 8)} ${mark.slice(8)}`
}

/**
 * The backslashes keep aliases of the script's away. A line that prints `begun`, runs the script with nothing to read and prints `done` with its status. eval keeps a
 * syntax error in the script; the shell's trace (`set -x`) of what is not the script's goes nowhere.
 */
export function scriptLine(dialect: Dialect, script: string, begun: string, done: string): string {
  if (script.includes('\0')) {
    throw new DeltaBoxError('invalid_request', 'A script cannot hold a NUL character')
  }
  const { out, err } = dialect
  return [
    `{ \\command printf '%s%s\\n' ${spelt(begun)} >&${out}; } 2>/dev/null`,
    `\\eval ${quote(script)} </dev/null ${out}>&- ${err}>&-`,
    `{ \\command printf '%s%s%s\\n' ${spelt(done)} "$?" >&${out}; ${NO_PROMPT}; } 2>/dev/null\n`,
  ].join('; ')
}

/**
 * A line that prints `end` on both streams. It is sent once the script's line was taken in, so it is read even when that
 * line was given up half-way. After a quote that was never closed bash misreads the first word that follows: an empty
 * line takes the harm.
 */
export function endLine({ out, err }: Dialect, end: string): string {
  const print = `\\command printf '%s%s%s\\n' ${spelt(end)}`
  return `\n{ ${print} "$?" >&${out}; ${NO_PROMPT}; ${print} '' >&${err}; } 2>/dev/null\n`
}
