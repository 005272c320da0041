/** A state whose engine is a table of answers: what the daemon asks for, and what becomes of its rows and directories. */
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pino } from 'pino'
import { EngineError } from '../../src/engine/client.js'
import type { Ok, OperationName, Parameters } from '../../src/engine/messages.js'
import { Events } from '../../src/state/events.js'
import type { Families, Family } from '../../src/state/families.js'
import { createKeeping } from '../../src/state/keeping.js'
import { Merges } from '../../src/state/merges.js'
import { Metrics } from '../../src/state/metrics.js'
import { applyRetention } from '../../src/state/prune.js'
import { RetentionKeeper } from '../../src/state/retention.js'
import { RunningProcesses } from '../../src/state/running-process.js'
import { Serial } from '../../src/state/serial.js'
import { Spares } from '../../src/state/spares.js'
import type { State } from '../../src/state/state.js'
import { FAMILY, type TemporaryStore, temporaryStore } from './temporary-store.js'

type Answers = {
  [Name in OperationName]?: (parameters: Parameters<Name>) => Ok<Name> | Promise<Ok<Name>>
}

const none = (): Record<string, number> => ({})
export const NO_COUNTS = { sandboxes: none, checkpoints: none, images: none, imageBytes: none }

class FakeEngine {
  readonly requests: { readonly operation: OperationName; readonly parameters: object }[] = []
  /** The layers each sandbox is mounted on, its head first. */
  readonly mounted = new Map<string, readonly string[]>()
  readonly #answers: Answers = {
    'base.open': () => ({ timings: {} }),
    'sandbox.create': ({ sandbox, layers, head }) => {
      this.mount(sandbox, [head, ...layers])
      return { initPid: 1, cgroups: [], revived: 0, processes: [], timings: {} }
    },
    'sandbox.destroy': ({ sandbox }) => {
      this.mounted.delete(sandbox)
      return {}
    },
    'sandbox.checkpoint': ({ sandbox, head, layers }) => {
      const [old = '', ...below] = this.mounted.get(sandbox) ?? []
      this.mount(sandbox, [head, old, ...(layers ?? below)])
      return { unchanged: false, processes: 1, files: 2, timings: { blocking: 250 } }
    },
    'sandbox.rollback': ({ sandbox, layers, head }) => {
      this.mount(sandbox, [head, ...layers])
      return { initPid: 1, stopped: 3, revived: 1, processes: [], timings: {} }
    },
    'image.store': () => ({ bytes: 4096, needs: [] }),
    'image.load': () => ({ bytes: 8192 }),
    'image.drop': () => ({ images: [] }),
    'cells.warm': () => ({}),
    'layer.sync': () => ({}),
    'layer.measure': () => ({ bytes: 4096, files: 1 }),
    'layers.merge': ({ into }) => {
      writeFileSync(path.join(into, 'merged'), '')
      return { bytes: 4096, files: 1 }
    },
  }

  /** What the engine's next answers to an operation are. */
  answer<Name extends OperationName>(
    operation: Name,
    answer: (parameters: Parameters<Name>) => Ok<Name> | Promise<Ok<Name>>,
  ): void {
    Object.assign(this.#answers, { [operation]: answer })
  }

  refuse(operation: OperationName, code: string): void {
    this.answer(operation, () => {
      throw new EngineError({ code, errno: 0, step: '', object: '', message: 'no' })
    })
  }

  /** As the engine does: what is mounted has to be there, and the head is filled. */
  mount(sandbox: string, chain: readonly string[]): void {
    mkdirSync(path.join(chain[0] ?? '', 'fs0/upper'), { recursive: true })
    this.mounted.set(sandbox, chain)
  }

  request<Name extends OperationName>(operation: Name, parameters: Parameters<Name>): Promise<Ok<Name>> {
    this.requests.push({ operation, parameters })
    const answer = this.#answers[operation]
    if (!answer) throw new Error(`nobody answers ${operation}`)
    return Promise.resolve().then(() => answer(parameters as never) as Ok<Name>)
  }
}

export interface FakeState extends TemporaryStore {
  readonly state: State
  readonly engine: FakeEngine
  /** Makes a sandbox on the base. */
  sandbox(id: string): string
}

export async function fakeState({ mergeDepth = 16 } = {}): Promise<FakeState> {
  const the = await temporaryStore()
  const { store, paths, afterwards, layers } = the
  const log = pino({ level: 'silent' })
  const engine = new FakeEngine()
  const family = { id: FAMILY, client: engine, base: Promise.resolve({}) } as unknown as Family
  const families = {
    get: () => family,
    use: (_id: string, work: (live: Family) => Promise<unknown>) => work(family),
    retire: () => Promise.resolve(),
    sandboxDirectory: (_id: string, sandbox: string) =>
      path.join(paths.families, FAMILY, 'sandboxes', sandbox),
  } as unknown as Families
  mkdirSync(path.join(paths.families, FAMILY, 'sandboxes'))
  const limits = { poolBytes: 2 ** 30, poolCount: 1000 }
  const config = { mergeDepth, copyAhead: 2 ** 24, sync: true, compress: false, ...limits } as State['config']
  const events = new Events()
  const metrics = new Metrics(NO_COUNTS)
  const needed = { config, paths, log, store, families, afterwards, layers, events, metrics }
  const keeping = createKeeping(needed, () => Promise.resolve({}))
  const { upkeep } = keeping
  const merges = new Merges({ config, log, store, families, layers, upkeep })
  const parts = { ...needed, ...keeping, merges }
  const state: State = {
    ...parts,
    retention: new RetentionKeeper({ log, store }, (sandbox) => applyRetention(state, sandbox)),
    spares: new Spares(log),
    running: new RunningProcesses(),
    serial: new Serial(),
    stopping: new AbortController(),
  } as unknown as State
  const sandbox = (id: string): string => {
    const head = layers.newHead({ family: FAMILY, sandbox: id, parent: null, target: null })
    const standing = { head: head.id, checkpoint: null, parent: null, forkedFrom: null }
    store.sandboxes.insert({ id, name: null, family: FAMILY, ...standing, createdAt: 1 })
    store.sandboxes.setRunning(id, [])
    engine.mount(id, [layers.directory(head)])
    return id
  }
  const close = async (): Promise<void> => {
    await state.retention.stop()
    merges.stop()
    upkeep.stop()
    await the.close()
  }
  return { ...the, close, state, engine, sandbox }
}
