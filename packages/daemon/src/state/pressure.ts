/** When memory runs short on the host, what engines keep of checkpoints goes before anything is killed. */
import { readFile } from 'node:fs/promises'
import type { Logger } from 'pino'
import type { Pool } from './pool.js'
import type { Store } from './store.js'

const LOOK_MS = 500
const MEMORY = '/proc/meminfo'
const STALLS = '/proc/pressure/memory'
/** Less than so much of all memory, or than so many bytes, is little. */
const LITTLE_FRACTION = 0.06
const LITTLE_BYTES = 256 * 1024 ** 2
/** Of the last ten seconds, in percent, that somebody waited for memory. */
const MUCH_STALLED = 20

export interface Memory {
  readonly totalBytes: number
  readonly availableBytes: number
  /** 0 where the kernel does not tell. */
  readonly stalledPercent: number
}

interface PressureNeeded {
  readonly log: Logger
  readonly store: Store
  readonly pool: Pool
  readonly look?: () => Promise<Memory>
}

export function isShort({ totalBytes, availableBytes, stalledPercent }: Memory): boolean {
  const little = Math.min(totalBytes * LITTLE_FRACTION, LITTLE_BYTES)
  return availableBytes < little || stalledPercent > MUCH_STALLED
}

export function parseMemory(meminfo: string, stalls: string): Memory {
  const kilobytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(meminfo)?.[1] ?? 0) * 1024
  return {
    totalBytes: kilobytes('MemTotal'),
    availableBytes: kilobytes('MemAvailable'),
    stalledPercent: Number(/^some avg10=([\d.]+)/m.exec(stalls)?.[1] ?? 0),
  }
}

async function lookAtHost(): Promise<Memory> {
  return parseMemory(await readFile(MEMORY, 'utf8'), await readFile(STALLS, 'utf8').catch(() => ''))
}

export class Pressure {
  readonly #needed: PressureNeeded
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  constructor(needed: PressureNeeded) {
    this.#needed = needed
  }

  start(): void {
    this.#timer = setTimeout(() => {
      this.turn()
        .catch((error) => this.#needed.log.error({ err: error }, 'the host’s memory could not be looked at'))
        .finally(() => {
          if (!this.#stopped) this.start()
        })
    }, LOOK_MS).unref()
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  /** Half of what there is goes, and half of the rest at the next look. */
  async turn(): Promise<void> {
    const { log, store, pool, look = lookAtHost } = this.#needed
    const memory = await look()
    const { bytes, count } = store.images.residentTotals()
    if (count === 0 || !isShort(memory)) return
    log.warn({ ...memory, bytes, count }, 'memory is short; processes of checkpoints go out of it')
    await pool.shrinkTo({ bytes: Math.floor(bytes / 2), count: Math.floor(count / 2) })
  }
}
