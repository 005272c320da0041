/** Rules that stay with a sandbox: applied in the background after its checkpoints, and as time passes. */
import type { Retention, SetRetention } from '@deltabox/protocol'
import { checkedRules } from './keep-rules.js'
import { findSandbox, labelOf } from './sandboxes.js'
import type { State } from './state.js'

const LOOK_MS = 60_000

export function getRetention(state: State, reference: string): Retention {
  return { retention: findSandbox(state, reference).retention }
}

export function setRetention(state: State, reference: string, given: SetRetention): Retention {
  const sandbox = findSandbox(state, reference)
  const doing = `set the retention of sandbox ${labelOf(sandbox)}`
  const retention = given && checkedRules(state, given, doing)
  state.store.sandboxes.setRetention(sandbox.id, retention)
  state.retention.consider(sandbox.id)
  return { retention }
}

type Needed = Pick<State, 'log' | 'store'>

/** What a daemon that was killed left is found by the next: the rules are just applied again. */
export class RetentionKeeper {
  readonly #needed: Needed
  readonly #apply: (sandbox: string) => Promise<void>
  readonly #waiting = new Set<string>()
  #applying: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  constructor(needed: Needed, apply: (sandbox: string) => Promise<void>) {
    this.#needed = needed
    this.#apply = apply
  }

  start(): void {
    this.#considerAll()
    this.#timer = setInterval(() => this.#considerAll(), LOOK_MS)
  }

  #considerAll(): void {
    for (const sandbox of this.#needed.store.sandboxes.withRetention()) this.consider(sandbox)
  }

  consider(sandbox: string): void {
    if (this.#stopped) return
    this.#waiting.add(sandbox)
    this.#applying ??= this.#applyAll()
  }

  async #applyAll(): Promise<void> {
    // A sandbox that is considered meanwhile comes again.
    for (const sandbox of this.#waiting) {
      if (this.#stopped) return
      this.#waiting.delete(sandbox)
      await this.#apply(sandbox).catch((error) =>
        this.#needed.log.error({ sandbox, err: error }, 'its retention was not applied; tried again'),
      )
    }
    this.#applying = undefined
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearInterval(this.#timer)
    await this.#applying
  }
}
