/** What the daemon keeps in memory of a process that runs: who waits for its end, its timers, its turn at stdin. */
import type { EngineEvent } from '../engine/messages.js'

export type ProcessExit = Extract<EngineEvent, { event: 'process.exit' }>

export class RunningProcess {
  readonly #endListeners = new Set<() => void>()
  #ended = false
  /** Its start has been answered. An exit told before is recorded then. */
  started = false
  exitBeforeStart: ProcessExit | undefined
  timeLimit: NodeJS.Timeout | undefined
  /** How many readers say they are the command's client. */
  clients = 0
  clientGrace: NodeJS.Timeout | undefined
  /** The engine still keeps for the client what it has not been sent. */
  held: boolean

  constructor(held: boolean) {
    this.held = held
  }

  get ended(): boolean {
    return this.#ended
  }

  /** Returns what ends the subscription. */
  onEnd(listener: () => void): () => void {
    this.#endListeners.add(listener)
    return () => this.#endListeners.delete(listener)
  }

  end(): void {
    this.#ended = true
    this.stopTimers()
    for (const listener of this.#endListeners) listener()
  }

  stopTimers(): void {
    clearTimeout(this.timeLimit)
    clearTimeout(this.clientGrace)
  }
}

export class RunningProcesses {
  readonly #processes = new Map<string, RunningProcess>()

  add(sandbox: string, process: string, held: boolean): RunningProcess {
    const running = new RunningProcess(held)
    this.#processes.set(`${sandbox}/${process}`, running)
    return running
  }

  get(sandbox: string, process: string): RunningProcess | undefined {
    return this.#processes.get(`${sandbox}/${process}`)
  }

  /** Tells whoever waits; call it once the end is recorded. */
  end(sandbox: string, process: string): void {
    const running = this.get(sandbox, process)
    this.#processes.delete(`${sandbox}/${process}`)
    running?.end()
  }

  stopTimers(): void {
    for (const running of this.#processes.values()) running.stopTimers()
  }
}
