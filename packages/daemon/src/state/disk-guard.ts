/**
 * Keeps sandboxes within their disk limits, as the kernel's OOM killer keeps them within memory: a stock ext4 has no
 * quota for a directory, so what a sandbox wrote is measured from time to time, and one that wrote too much has its
 * processes killed. Its files stay; it can go on once some are removed. Between two looks a sandbox can write about as
 * much as the disk takes in 250 ms, which the reserve is for.
 */
import { statfs } from 'node:fs/promises'
import type { SandboxRow } from './sandbox-table.js'
import { ask, labelOf, writtenBytes } from './sandboxes.js'
import type { State } from './state.js'

const LOOK_MS = 250
const MEASURE_MS = 5000
const MEASURE_AFTER_BYTES = 64 * 1024 * 1024
/** On a disk that something else has filled, whoever writes a few lines is not to blame. */
const WORTH_KILLING_BYTES = 1024 ** 2
const RESERVE_MAX_BYTES = 1024 ** 3
const RESERVE_FRACTION = 0.05
const SIGKILL = 9

interface Growth {
  readonly sandbox: SandboxRow
  readonly bytes: number
  readonly grew: number
}

export class DiskGuard {
  readonly #state: State
  readonly #lastBytes = new Map<string, number>()
  /** What those wrote between the look and the kill is no growth of what was started since. */
  readonly #justKilled = new Set<string>()
  #timer: NodeJS.Timeout | undefined
  #turning: Promise<void> | undefined
  #measuredAt = 0
  /** The most there was since the sandboxes were measured. */
  #freeAtMost = 0
  #unsubscribe: (() => void) | undefined

  constructor(state: State) {
    this.#state = state
  }

  /** What sandboxes of an earlier daemon hold by now did not grow under this one's eyes. */
  async start(): Promise<void> {
    await this.#measure(this.#sandboxes())
    this.#unsubscribe = this.#state.events.subscribe(({ type, sandbox }) => {
      if (type !== 'sandbox.rolled-back' && type !== 'sandbox.promoted') return
      this.#state.afterwards.add(() => this.#goneBack(sandbox))
    })
    this.#schedule()
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer)
    this.#unsubscribe?.()
    await this.#turning
  }

  async #turn(): Promise<void> {
    try {
      await this.#look()
    } catch (error) {
      this.#state.log.error({ err: error }, 'the disk could not be looked at')
    }
    if (!this.#state.stopping.signal.aborted) this.#schedule()
  }

  #schedule(): void {
    this.#timer = setTimeout(() => {
      this.#turning = this.#turn()
    }, LOOK_MS)
  }

  #sandboxes(): SandboxRow[] {
    return this.#state.store.sandboxes.all().filter((row) => row.state === 'running')
  }

  async #look(): Promise<void> {
    // What a sandbox has gone back to is no growth of it.
    this.#state.afterwards.finish()
    const sandboxes = this.#sandboxes()
    if (sandboxes.length === 0) return
    const { free, reserve } = await diskSpace(this.#state.paths.dataDir)
    this.#freeAtMost = Math.max(this.#freeAtMost, free)
    const fell = this.#freeAtMost - free > MEASURE_AFTER_BYTES
    const due = performance.now() - this.#measuredAt > MEASURE_MS && this.#anythingRuns(sandboxes)
    const all = fell || due || free < reserve
    // A new one may have written a lot before anybody looked at the disk.
    const growths = await this.#measure(
      all ? sandboxes : sandboxes.filter((row) => !this.#lastBytes.has(row.id)),
    )
    if (all) {
      this.#measuredAt = performance.now()
      this.#freeAtMost = free
      this.#forgetOthers(sandboxes)
    }
    for (const growth of growths) if (isOver(growth)) await this.#kill(growth, 'over its disk limit')
    if (free < reserve) await this.#killTheFastest(growths)
  }

  /** What it writes from now on is growth, however much it had written before. */
  #goneBack(id: string): void {
    const { sandboxes, layers } = this.#state.store
    const head = layers.get(sandboxes.get(id)?.head ?? '')
    this.#lastBytes.set(id, layers.chainBytes(head?.parent ?? null))
    this.#justKilled.delete(id)
  }

  #anythingRuns(sandboxes: readonly SandboxRow[]): boolean {
    return sandboxes.some((sandbox) => this.#state.store.processes.running(sandbox.id).length > 0)
  }

  /** One at a time: measuring walks what the sandbox wrote. */
  async #measure(sandboxes: readonly SandboxRow[]): Promise<Growth[]> {
    const growths: Growth[] = []
    for (const sandbox of sandboxes) {
      const bytes = await this.#usage(sandbox)
      // It may have gone back meanwhile.
      if (bytes === undefined || this.#state.store.sandboxes.get(sandbox.id)?.head !== sandbox.head) continue
      const before = this.#justKilled.delete(sandbox.id) ? bytes : (this.#lastBytes.get(sandbox.id) ?? 0)
      growths.push({ sandbox, bytes, grew: bytes - before })
      // Not when others are measured, too: it may go back meanwhile, and has what it has gone back to then.
      this.#lastBytes.set(sandbox.id, bytes)
    }
    return growths
  }

  #forgetOthers(sandboxes: readonly SandboxRow[]): void {
    const kept = new Set(sandboxes.map((row) => row.id))
    for (const known of [this.#lastBytes, this.#justKilled]) {
      for (const id of known.keys()) if (!kept.has(id)) known.delete(id)
    }
  }

  /** Undefined for one that was removed or died since it was listed. */
  async #usage(sandbox: SandboxRow): Promise<number | undefined> {
    try {
      const doing = `measure sandbox ${labelOf(sandbox)}`
      return await writtenBytes(this.#state, sandbox, doing)
    } catch (error) {
      if (this.#state.store.sandboxes.get(sandbox.id)?.state === 'running') throw error
      return undefined
    }
  }

  async #killTheFastest(growths: readonly Growth[]): Promise<void> {
    const [fastest] = growths
      .filter(({ grew }) => grew >= WORTH_KILLING_BYTES)
      .sort((a, b) => b.grew - a.grew)
    if (fastest) await this.#kill(fastest, 'the disk is almost full and it grew the most')
  }

  async #kill({ sandbox, bytes }: Growth, reason: string): Promise<void> {
    const state = this.#state
    state.log.warn({ sandbox: sandbox.id, bytes, limit: sandbox.diskBytes, reason }, 'processes killed')
    this.#justKilled.add(sandbox.id)
    state.store.processes.setDiskKilled(sandbox.id)
    state.events.emit({ type: 'sandbox.disk-limit', sandbox: sandbox.id, reason })
    const doing = `stop sandbox ${labelOf(sandbox)}`
    await ask(state, sandbox, doing, 'sandbox.signal', { sandbox: sandbox.id, signal: SIGKILL })
  }
}

/** One that is over but does not grow may be removing files right now. */
function isOver({ sandbox, bytes, grew }: Growth): boolean {
  return sandbox.diskBytes !== null && bytes > sandbox.diskBytes && grew > 0
}

export async function diskSpace(directory: string): Promise<{ free: number; reserve: number }> {
  const { bavail, blocks, bsize } = await statfs(directory)
  return {
    free: bavail * bsize,
    reserve: Math.min(RESERVE_MAX_BYTES, blocks * bsize * RESERVE_FRACTION),
  }
}
