/** The engines: one per family of sandboxes while it has some, and one more started ahead of need. */
import { randomInt } from 'node:crypto'
import { access, rm, rmdir } from 'node:fs/promises'
import path from 'node:path'
import { DeltaBoxError } from '@deltabox/protocol'
import type { Logger } from 'pino'
import type { Config } from '../config.js'
import type { LayerStore } from '../deltafs/layer-store.js'
import { removeTree } from '../deltafs/remove-tree.js'
import { EngineClient, type EngineListener, EngineLostError } from '../engine/client.js'
import {
  claimedUids,
  engineEnded,
  IdsTakenError,
  isLoggingTo,
  killEngine,
  launchEngine,
  startTicks,
} from '../engine/launch.js'
import type { Hello } from '../engine/messages.js'
import { makeDirectory } from '../make-directory.js'
import type { Paths } from './data-dir.js'
import type { FamilyRow } from './family-table.js'
import { newFamilyId } from './ids.js'
import { Serial } from './serial.js'
import type { Store } from './store.js'

/** Ranges of 65536 host ids, far above those of users and of other container tools, and below 2^31. */
const FIRST_UID = 0x40000000
const UIDS_PER_FAMILY = 65536
const SLOTS = 16384
const MOST_DRAWS = 8

/** A family whose engine runs. */
export function firstUid(slot: number): number {
  return FIRST_UID + slot * UIDS_PER_FAMILY
}

export interface Family {
  readonly id: string
  readonly client: EngineClient
  readonly pid: number
  readonly startTicks: number
  /** What its sandboxes start from, once that is asked for: base.ts. */
  base: Promise<Readonly<Record<string, number>>> | undefined
}

export interface FamilyListener extends Pick<EngineListener, 'event' | 'answered'> {
  lost(family: Family, error: EngineLostError): void
}

export class Families {
  readonly #config: Pick<Config, 'enginePath' | 'warm'>
  readonly #paths: Paths
  readonly #log: Logger
  readonly #store: Store
  readonly #layerStore: LayerStore
  readonly #listener: FamilyListener
  readonly #live = new Map<string, Family>()
  readonly #ending = new Set<string>()
  /** Starting and ending the engine of one family. */
  readonly #serial = new Serial()
  /** Work under way that needs a family's engine. */
  readonly #users = new Map<string, number>()
  #spare: Promise<Family> | undefined
  #stopped = false

  constructor(
    config: Config,
    paths: Paths,
    log: Logger,
    store: Store,
    layerStore: LayerStore,
    listener: FamilyListener,
  ) {
    this.#config = config
    this.#paths = paths
    this.#log = log
    this.#store = store
    this.#layerStore = layerStore
    this.#listener = listener
  }

  /** Undefined while it has no engine. */
  get(id: string): Family | undefined {
    return this.#live.get(id)
  }

  directory(id: string): string {
    return path.join(this.#paths.families, id)
  }

  sandboxDirectory(id: string, sandbox: string): string {
    return path.join(this.directory(id), 'sandboxes', sandbox)
  }

  /** Of its layers and of its sandboxes. */
  busyDirectories(id: string): string[] {
    return [this.#layerStore.allOf(id), path.join(this.directory(id), 'sandboxes')]
  }

  /** Where the engine makes layers ahead of need. */
  stockDirectory(id: string): string {
    return path.join(this.directory(id), 'stock')
  }

  /** Where the engine keeps what the family's sandboxes start from mounted, in its own mount namespace. */
  baseDirectory(id: string): string {
    return path.join(this.directory(id), 'base')
  }

  socket(id: string): string {
    return path.join(this.#paths.runDir, `e-${id}.sock`)
  }

  #logPath(id: string): string {
    return path.join(this.directory(id), 'engine.log')
  }

  /** A family without a sandbox, for one that is about to be made. */
  async take(): Promise<Family> {
    const waiting = this.#spare
    this.#spare = undefined
    const spare = await waiting?.catch((error) => {
      this.#log.warn({ err: error }, 'the spare engine did not start; another one is tried')
    })
    return spare && !spare.client.lost ? spare : await this.#startNew()
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
    const family = await this.#startNew()
    await family.client.request('cells.warm', { count: 1 })
    return family
  }

  /** Daemons do not know of each other's families: a range of ids that proves to be taken is drawn again. */
  async #startNew(draws = MOST_DRAWS): Promise<Family> {
    const id = newFamilyId()
    const slot = this.#freeSlot()
    this.#store.families.insert(id, slot)
    try {
      return await this.#launch(id, slot)
    } catch (error) {
      await this.discard(id)
      if (draws > 1 && (error as Error).cause instanceof IdsTakenError) return await this.#startNew(draws - 1)
      throw error
    }
  }

  async #launch(id: string, slot: number): Promise<Family> {
    const { enginePath } = this.#config
    await access(enginePath).catch((cause) => {
      throw new DeltaBoxError('not_built', `cannot start an engine: there is no ${enginePath}`, { cause })
    })
    try {
      await this.#prepare(id)
      await launchEngine({
        program: enginePath,
        socketPath: this.socket(id),
        uidBase: firstUid(slot),
        logPath: this.#logPath(id),
      })
      const { family } = await this.#connect(id)
      this.#log.debug({ engine: id, pid: family.pid }, 'engine started')
      return family
    } catch (cause) {
      throw new DeltaBoxError('engine_failed', `cannot start an engine: ${(cause as Error).message}`, {
        cause,
      })
    }
  }

  async #prepare(id: string): Promise<void> {
    await this.#layerStore.prepareFamily(id)
    await makeDirectory(path.join(this.directory(id), 'sandboxes'))
  }

  #freeSlot(isClaimed: (slot: number) => boolean = () => false): number {
    const taken = new Set(this.#store.families.all().map((row) => row.slot))
    for (;;) {
      const slot = randomInt(SLOTS)
      if (!taken.has(slot) && !isClaimed(slot)) return slot
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
    family = { id, client, pid: hello.pid, startTicks: ticks, base: undefined }
    this.#store.families.setProcess(id, family)
    this.#live.set(id, family)
    return { family, hello }
  }

  /** A family that has come from elsewhere: without an engine yet, and gone with the next daemon unless it has checkpoints by then. */
  async adopt(): Promise<{ readonly id: string; readonly uidBase: number }> {
    const id = newFamilyId()
    // Its files get owners now: unlike a new family's, its range cannot be drawn again when its engine finds it taken.
    const claimed = await claimedUids()
    const slot = this.#freeSlot((one) => claimed.has(firstUid(one)))
    this.#store.families.insert(id, slot)
    try {
      await this.#prepare(id)
    } catch (error) {
      await this.discard(id)
      throw error
    }
    return { id, uidBase: firstUid(slot) }
  }

  /** It stays meanwhile, with or without an engine. */
  async keeping<T>(id: string, work: () => Promise<T>): Promise<T> {
    this.#users.set(id, (this.#users.get(id) ?? 0) + 1)
    try {
      return await work()
    } finally {
      const left = (this.#users.get(id) ?? 1) - 1
      if (left > 0) this.#users.set(id, left)
      else this.#users.delete(id)
      this.retire(id).catch((error) =>
        this.#log.error({ family: id, err: error }, 'a family that is not used does not end'),
      )
    }
  }

  /** Picks up an engine that another daemon started. Undefined, and nothing of it runs any more, when it is gone. */
  async reconnect(row: FamilyRow): Promise<{ family: Family; hello: Hello } | undefined> {
    // One without a pid may still run: it was started, and the daemon killed before it wrote that down.
    if (row.pid === null && !(await exists(this.socket(row.id)))) return undefined
    try {
      return await this.#connect(row.id)
    } catch (error) {
      this.#log.warn(
        { engine: row.id, err: error },
        'an engine does not answer; what is left of it is killed',
      )
      await this.#clearAfterEngine(row)
      return undefined
    }
  }

  /** Makes a reconnected family that never had a sandbox the spare. False when there is no use for it. */
  adoptSpare(family: Family): boolean {
    if (!this.#config.warm || this.#spare) return false
    this.#spare = family.client.request('cells.warm', { count: 1 }).then(() => family)
    this.#spare.catch((error) => this.#log.error({ err: error }, 'the adopted spare engine fails'))
    return true
  }

  #lost(family: Family, error: EngineLostError): void {
    this.#live.delete(family.id)
    if (this.#ending.has(family.id) || this.#stopped) return
    this.#store.images.forgetMemory(family.id)
    this.#listener.lost(family, error)
  }

  /** Work on a family that may have no sandbox: its engine is started when it does not run, and ends when unused. */
  async use<T>(id: string, work: (family: Family) => Promise<T>): Promise<T> {
    return await this.keeping(id, async () => await work(await this.#serial.run(id, () => this.#wake(id))))
  }

  /** Work on what a family's engine has left behind: the next one begins when that is done. */
  async between<T>(id: string, work: () => Promise<T>): Promise<T> {
    return await this.#serial.run(id, work)
  }

  async #wake(id: string): Promise<Family> {
    const live = this.#live.get(id)
    if (live) return live
    const row = this.#store.families.get(id)
    if (!row) throw new Error(`there is no family ${id}`)
    await this.#clearAfterEngine(row)
    return await this.#launch(id, row.slot)
  }

  /** What an engine that was killed could not take away itself. */
  async #clearAfterEngine(row: FamilyRow): Promise<void> {
    await this.#kill(row)
    this.#store.families.setProcess(row.id, undefined)
    this.#store.images.forgetMemory(row.id)
    await rm(this.socket(row.id), { force: true })
    await removeTree(this.stockDirectory(row.id))
    await rmdir(this.baseDirectory(row.id)).catch((error) => {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    })
  }

  /**
   * Ends the engine of a family without sandboxes that has no processes of checkpoints in memory, and the family itself when it has
   * no checkpoints at all.
   */
  async retire(id: string): Promise<void> {
    if (this.#isUsed(id)) return
    await this.#serial.run(id, async () => {
      if (this.#stopped || this.#isUsed(id)) return
      const live = this.#live.get(id)
      if (live) await this.#exit(live)
      if (!this.#isUsed(id) && !this.#store.checkpoints.hasFamily(id)) await this.discard(id)
    })
  }

  #isUsed(id: string): boolean {
    const { sandboxes, images } = this.#store
    return this.#users.has(id) || sandboxes.hasFamily(id) || images.isHeldBy(id)
  }

  /** Ends an engine and everything in it, and forgets the family. */
  async end(family: Family): Promise<void> {
    await this.#exit(family)
    await this.discard(family.id)
  }

  async #exit(family: Family): Promise<void> {
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
    family.client.close()
    this.#live.delete(family.id)
    this.#ending.delete(family.id)
    await rm(this.socket(family.id), { force: true })
    this.#store.families.setProcess(family.id, undefined)
    this.#store.images.forgetMemory(family.id)
  }

  /** Removes all that there is of a family whose engine has ended, or is to. */
  async discard(id: string): Promise<void> {
    const row = this.#store.families.get(id)
    if (row) await this.#kill(row)
    this.#live.get(id)?.client.close()
    this.#live.delete(id)
    await removeTree(this.directory(id))
    await rm(this.socket(id), { force: true })
    this.#store.forgetFamily(id)
  }

  async #kill(row: FamilyRow): Promise<void> {
    if (row.pid === null || row.startTicks === null) return
    // That of the directory this one was copied from is none of ours.
    if (!(await isLoggingTo(row.pid, this.#logPath(row.id)))) return
    await killEngine({ pid: row.pid, startTicks: row.startTicks })
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

async function exists(file: string): Promise<boolean> {
  try {
    await access(file)
    return true
  } catch {
    return false
  }
}
