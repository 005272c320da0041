/** Ctrl-C stops a search where it stands. What it has made is in its file, from which the same search goes on. */

export interface StopOnSignalsOptions {
  /** Where the search is kept; without one it cannot go on. */
  readonly file?: string
  /** Told once, at the first signal. Default: a line on standard error. */
  readonly tell?: (message: string) => void
  /** Default: SIGINT, SIGTERM and SIGHUP. */
  readonly signals?: readonly NodeJS.Signals[]
}

export interface StopOnSignals {
  /** For `treeSearch`. Its reason is the name of the signal. */
  readonly signal: AbortSignal
  /** Signals do again what they did before. */
  release(): void
}

/** The first signal aborts, the second ends the program as it would without this. */
export function stopOnSignals({
  file,
  tell = (message) => process.stderr.write(`${message}\n`),
  signals = ['SIGINT', 'SIGTERM', 'SIGHUP'],
}: StopOnSignalsOptions = {}): StopOnSignals {
  const stop = new AbortController()
  const release = (): void => {
    for (const name of signals) process.off(name, first)
  }
  const first = (name: NodeJS.Signals): void => {
    release()
    const next = file === undefined ? '' : ` What is made is in ${file}: the same search goes on from there.`
    tell(`Stopping.${next} Once more ends this at once.`)
    stop.abort(name)
  }
  for (const name of signals) process.on(name, first)
  return { signal: stop.signal, release }
}
