/** The engines: one per family of sandboxes, and one more started ahead of need. */
import { randomInt } from 'node:crypto'
import { access, mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { DeltaBoxError } from '@deltabox/protocol'
import type { Logger } from 'pino'
import type { Config } from '../config.js'
import { EngineClient, type EngineListener, EngineLostError } from '../engine/client.js'
import { engineEnded, killEngine, launchEngine, startTicks } from '../engine/launch.js'
import type { Hello } from '../engine/messages.js'
import type { Paths } from './data-dir.js'
import type { EngineRow } from './engine-table.js'
import { newEngineId } from './ids.js'
import { removeTree } from './remove-tree.js'
import type { Store } from './store.js'

/** Ranges of 65536 host ids, far above those of users and of other container tools, and below 2^31. */
const FIRST_UID = 0x40000000
const UIDS_PER_FAMILY = 65536
const SLOTS = 16384

export interface Family {
  readonly id: string
  readonly client: EngineClient
  readonly pid: number
  readonly startTicks: number
}

export interface FamilyListener extends Pick<EngineListener, 'event' | 'answered'> {
  lost(family: Family, error: EngineLostError): void
}

export class Families {
  readonly #config: Pick<Config, 'enginePath' | 'warm'>
  readonly #paths: Paths
  readonly #log: Logger
  readonly #store: Store
  readonly #listener: FamilyListener
  readonly #live = new Map<string, Family>()
  readonly #ending = new Set<string>()
  #spare: Promise<Family> | undefined
  #stopped = false

  constructor(config: Config, paths: Paths, log: Logger, store: Store, listener: FamilyListener) {
    this.#config = config
    this.#paths = paths
    this.#log = log
    this.#store = store
    this.#listener = listener
  }

  /** Undefined once its engine is gone. */
  get(id: string): Family | undefined {
    return this.#live.get(id)
  }

  directory(id: string): string {
    return path.join(this.#paths.families, id)
  }

  sandboxDirectory(id: string, sandbox: string): string {
    return path.join(this.directory(id), 'sandboxes', sandbox)
  }

  /** Where the engine keeps what the family's sandboxes start from mounted, in its own mount namespace. */
  baseDirectory(id: string): string {
    return path.join(this.directory(id), 'base')
  }

  layerDirectory(id: string, layer: string): string {
    return path.join(this.directory(id), 'layers', layer)
  }

  socket(id: string): string {
    return path.join(this.#paths.runDir, `e-${id}.sock`)
  }

  /** A family without a sandbox, for one that is about to be made. */
  async take(): Promise<Family> {
    const waiting = this.#spare
    this.#spare = undefined
    const spare = await waiting?.catch((error) => {
      this.#log.warn({ err: error }, 'the spare engine did not start; another one is tried')
    })
    const family = spare && !spare.client.lost ? spare : await this.#start(false)
    this.#store.engines.setSpare(family.id, false)
    return family
  }

  /** Starts a spare in the background when there is none. */
  refill(): void {
    if (!this.#config.warm || this.#stopped || this.#spare) return
    const spare = this.#startSpare()
    this.#spare = spare
    spare.catch((error) => {
      if (this.#spare === spare) this.#spare = undefined
      this.#log.error({ err: error }, 'no spare engine could be started; the next create tries again')
    })
  }

  async #startSpare(): Promise<Family> {
    const family = await this.#start(true)
    await family.client.request('cells.warm', { count: 1 })
    return family
  }

  async #start(spare: boolean): Promise<Family> {
    const { enginePath } = this.#config
    await access(enginePath).catch((cause) => {
      throw new DeltaBoxError('not_built', `cannot start an engine: there is no ${enginePath}`, { cause })
    })
    const id = newEngineId()
    const slot = this.#freeSlot()
    this.#store.engines.insert(id, slot, spare)
    try {
      for (const part of ['sandboxes', 'layers']) {
        await mkdir(path.join(this.directory(id), part), { recursive: true, mode: 0o700 })
      }
      await launchEngine({
        program: enginePath,
        socketPath: this.socket(id),
        uidBase: FIRST_UID + slot * UIDS_PER_FAMILY,
        logPath: path.join(this.directory(id), 'engine.log'),
      })
      const { family } = await this.#connect(id)
      this.#log.debug({ engine: id, pid: family.pid }, 'engine started')
      return family
    } catch (cause) {
      await this.discard(id)
      throw new DeltaBoxError('engine_failed', `cannot start an engine: ${(cause as Error).message}`, {
        cause,
      })
    }
  }

  #freeSlot(): number {
    const taken = new Set(this.#store.engines.all().map((row) => row.slot))
    for (;;) {
      const slot = randomInt(SLOTS)
      if (!taken.has(slot)) return slot
    }
  }

  async #connect(id: string): Promise<{ family: Family; hello: Hello }> {
    let family: Family | undefined
    const { client, hello } = await EngineClient.connect(this.socket(id), {
      event: (event) => this.#listener.event(event),
      answered: (operation, failed) => this.#listener.answered(operation, failed),
      lost: (error) => family && this.#lost(family, error),
    })
    const ticks = await startTicks(hello.pid)
    if (client.lost || ticks === undefined) throw new EngineLostError('the engine is gone: it ended')
    family = { id, client, pid: hello.pid, startTicks: ticks }
    this.#store.engines.setProcess(id, family.pid, ticks)
    this.#live.set(id, family)
    return { family, hello }
  }

  /** Picks up an engine that another daemon started. Undefined, and nothing of it runs any more, when it is gone. */
  async reconnect(row: EngineRow): Promise<{ family: Family; hello: Hello } | undefined> {
    try {
      return await this.#connect(row.id)
    } catch (error) {
      this.#log.warn(
        { engine: row.id, err: error },
        'an engine does not answer; what is left of it is killed',
      )
      await this.#kill(row)
      return undefined
    }
  }

  /** Makes a reconnected family without sandboxes the spare. False when there is no use for it. */
  adoptSpare(family: Family): boolean {
    if (!this.#config.warm || this.#spare) return false
    this.#store.engines.setSpare(family.id, true)
    this.#spare = family.client.request('cells.warm', { count: 1 }).then(() => family)
    this.#spare.catch((error) => this.#log.error({ err: error }, 'the adopted spare engine fails'))
    return true
  }

  #lost(family: Family, error: EngineLostError): void {
    this.#live.delete(family.id)
    if (this.#ending.has(family.id) || this.#stopped) return
    this.#listener.lost(family, error)
  }

  /** Ends an engine and everything in it, and forgets the family. */
  async end(family: Family): Promise<void> {
    this.#ending.add(family.id)
    try {
      await family.client.request('engine.exit', {})
    } catch (error) {
      if (!(error instanceof EngineLostError)) throw error
    }
    if (!(await engineEnded(family))) {
      this.#log.error({ engine: family.id, pid: family.pid }, 'an engine did not end in time and is killed')
      await killEngine(family)
    }
    await this.discard(family.id)
    this.#ending.delete(family.id)
  }

  /** Removes what a family whose engine is gone leaves behind. */
  async discard(id: string): Promise<void> {
    const row = this.#store.engines.get(id)
    if (row) await this.#kill(row)
    this.#live.get(id)?.client.close()
    this.#live.delete(id)
    await removeTree(this.directory(id))
    await rm(this.socket(id), { force: true })
    this.#store.engines.remove(id)
  }

  async #kill(row: EngineRow): Promise<void> {
    if (row.pid !== null && row.startTicks !== null) {
      await killEngine({ pid: row.pid, startTicks: row.startTicks })
    }
  }

  /** An engine that no record names, of a data directory that is no more: it would run on for ever. */
  async endStranger(socketPath: string): Promise<void> {
    const ignored = { event: () => undefined, answered: () => undefined, lost: () => undefined }
    try {
      const { client } = await EngineClient.connect(socketPath, ignored)
      await client.request('engine.exit', {})
      client.close()
    } catch (error) {
      this.#log.debug({ socket: socketPath, err: error }, 'nobody listens on a left-over socket')
    }
  }

  /** For the end of the daemon: the spare ends, engines with sandboxes go on without us. */
  async stop(): Promise<void> {
    this.#stopped = true
    const spare = await this.#spare?.catch(() => undefined)
    if (spare) await this.end(spare)
    for (const family of this.#live.values()) family.client.close()
    this.#live.clear()
  }
}
