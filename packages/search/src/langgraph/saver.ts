/** A checkpointer of LangGraph that keeps the machine with the graph: who goes back in one goes back in both. */
import { isDeepStrictEqual } from 'node:util'
import type { RunnableConfig } from '@langchain/core/runnables'
import {
  BaseCheckpointSaver,
  type ChannelVersions,
  type CheckpointListOptions,
  type CheckpointMetadata,
  type CheckpointTuple,
  type Checkpoint as GraphCheckpoint,
  MemorySaver,
  type PendingWrite,
} from '@langchain/langgraph-checkpoint'
import { type Checkpoint, type Client, DeltaBoxError, Sandbox } from 'deltabox'
import { KEPT, type Kept, keptSince, keptWith, latest, withoutKept } from './kept.js'
import { Machine } from './machine.js'
import { idOf, innermost, namespaceOf, type Place, placeOf, taskOf, threadOf } from './place.js'
import { Puts } from './puts.js'

export interface DeltaBoxSaverOptions {
  /** Makes the sandbox of a thread. It belongs to the saver, and goes with the thread. */
  readonly create: (thread: string) => Promise<Sandbox>
  /** Keeps the checkpoints of the graph. Default: a MemorySaver. */
  readonly saver?: BaseCheckpointSaver
  /** Of the daemon that the sandboxes are in. Default: this user's. */
  readonly client?: Client
}

type Metadata = CheckpointMetadata & { readonly parents?: Record<string, string> }

/** What the graph tells of a checkpoint that it puts. */
interface Next {
  readonly thread: string
  readonly namespace: string
  readonly parent: string | undefined
  readonly parents: Place
  readonly source: CheckpointMetadata['source']
  readonly step: number
  readonly versions: ChannelVersions
}

/** Writes that tell what has become of a task, not what it has done. */
const NO_OUTPUT = new Set(['__error__', '__error_source_node__', '__interrupt__', '__resume__'])

export class DeltaBoxSaver extends BaseCheckpointSaver {
  readonly #inner: BaseCheckpointSaver
  readonly #create: DeltaBoxSaverOptions['create']
  readonly #client: { readonly client?: Client }
  readonly #machines = new Map<string, Machine>()
  readonly #puts = new Puts()

  constructor({ create, saver = new MemorySaver(), client }: DeltaBoxSaverOptions) {
    super(saver.serde)
    this.#inner = saver
    this.#create = create
    this.#client = client ? { client } : {}
  }

  /**
   * The sandbox of the thread, in the state of the checkpoint that the node runs on. Outside of a run it is the sandbox as it is; what is
   * changed there before the next run begins is part of it.
   */
  async sandbox(config: RunnableConfig): Promise<Sandbox> {
    const thread = threadOf(config)
    const machine = this.#machine(thread)
    const task = taskOf(config)
    if (!task) return await machine.box()
    if (!machine.standsOn(task.place)) await this.#untilPut(thread, task.place)
    return await machine.inTurn(async () => {
      if (!machine.isReadyFor(task)) {
        const kept = await this.#stateFor(thread, task.place)
        await machine.goTo(kept, task.place)
      }
      machine.use(task)
      return await machine.box()
    })
  }

  /** The DeltaBox checkpoint behind one of the graph, to fork or to compare. Undefined where it has none. */
  async checkpointOf(config: RunnableConfig): Promise<Checkpoint | undefined> {
    const tuple = await this.#inner.getTuple(config)
    const kept = tuple && keptWith(tuple)
    return kept && (await Sandbox.getCheckpoint(kept.checkpoint, this.#client))
  }

  override async getTuple(config: RunnableConfig): Promise<CheckpointTuple | undefined> {
    const tuple = await this.#inner.getTuple(config)
    return tuple && withoutKept(tuple)
  }

  override async *list(
    config: RunnableConfig,
    options?: CheckpointListOptions,
  ): AsyncGenerator<CheckpointTuple> {
    for await (const tuple of this.#inner.list(config, options)) yield withoutKept(tuple)
  }

  override async put(
    config: RunnableConfig,
    checkpoint: GraphCheckpoint,
    metadata: CheckpointMetadata,
    newVersions: ChannelVersions,
  ): Promise<RunnableConfig> {
    const thread = threadOf(config)
    const namespace = namespaceOf(config)
    const parents = placeOf((metadata as Metadata).parents)
    const machine = this.#machine(thread)
    if (!machine.standsOn(parents)) await this.#untilPut(thread, parents)
    const store = async (): Promise<RunnableConfig> => {
      const { source, step } = metadata
      const known = { thread, namespace, parent: idOf(config), parents, source, step }
      const next = { ...known, versions: checkpoint.channel_versions }
      const { kept, isNew } = await this.#keepFor(machine, next)
      const told = { ...metadata, [KEPT]: kept } as CheckpointMetadata
      const put = this.#inner.put(config, checkpoint, told, newVersions)
      const stored = await this.#orDelete(put, isNew ? kept : undefined)
      if (isNew) machine.moveOn(namespace, checkpoint.id, parents)
      return stored
    }
    return await this.#puts.during(thread, () => machine.inTurn(store))
  }

  /** Of several tasks on one checkpoint some may finish and others not: these run again, and find what the first have done. */
  override async putWrites(
    config: RunnableConfig,
    writes: PendingWrite[],
    task: string,
    path?: string,
  ): Promise<void> {
    const machine = this.#machine(threadOf(config))
    const hasOutput = writes.some(([channel]) => !NO_OUTPUT.has(String(channel)))
    if (!hasOutput || !machine.wasUsedBy(task)) return await this.#inner.putWrites(config, writes, task, path)
    await machine.inTurn(async () => {
      if (machine.standsIn(namespaceOf(config)) !== idOf(config)) {
        return await this.#inner.putWrites(config, writes, task, path)
      }
      const kept = await machine.keep(`thread ${threadOf(config)}, after a task`)
      const more: PendingWrite[] = [...writes, [KEPT, kept]]
      await this.#orDelete(this.#inner.putWrites(config, more, task, path), kept)
    })
  }

  /** With its sandbox and the DeltaBox checkpoints of all its checkpoints. */
  override async deleteThread(thread: string): Promise<void> {
    const sandboxes = new Set<string>()
    const checkpoints = new Set<string>()
    const machine = this.#machine(thread)
    for await (const tuple of this.#inner.list({ configurable: { thread_id: thread } })) {
      for (const kept of [keptWith(tuple), ...keptSince(tuple)]) {
        if (!kept) continue
        sandboxes.add(kept.sandbox)
        checkpoints.add(kept.checkpoint)
      }
    }
    if (machine.isOpen) sandboxes.add((await machine.box()).id)
    for (const id of sandboxes) {
      await unlessGone('sandbox_not_found', async () => {
        await (await Sandbox.connect(id, this.#client)).kill({ checkpoints: true })
      })
    }
    for (const id of checkpoints) await this.#delete(id)
    await this.#inner.deleteThread(thread)
    this.#machines.delete(thread)
  }

  override getNextVersion(current: number | undefined): number {
    return this.#inner.getNextVersion(current)
  }

  override getDeltaChannelHistory(
    options: Parameters<BaseCheckpointSaver['getDeltaChannelHistory']>[0],
  ): ReturnType<BaseCheckpointSaver['getDeltaChannelHistory']> {
    return this.#inner.getDeltaChannelHistory(options)
  }

  #machine(thread: string): Machine {
    const known = this.#machines.get(thread)
    if (known) return known
    const machine = new Machine(() => this.#open(thread))
    this.#machines.set(thread, machine)
    return machine
  }

  /** The sandbox of a thread that is gone on with, or a fork of its last state where that sandbox is gone. */
  async #open(thread: string): Promise<Sandbox> {
    const tuple = await this.#inner.getTuple({ configurable: { thread_id: thread, checkpoint_ns: '' } })
    const kept = tuple && keptWith(tuple)
    if (!kept) return await this.#create(thread)
    const found = await unlessGone('sandbox_not_found', () => Sandbox.connect(kept.sandbox, this.#client))
    if (found) return found
    const [fork] = await (await Sandbox.getCheckpoint(kept.checkpoint, this.#client)).fork()
    if (!fork) throw new Error(`no fork was made of ${kept.checkpoint}`)
    return fork
  }

  /** A graph goes on while its checkpoints are stored: a node may be there before what it runs on. */
  async #untilPut(thread: string, place: Place): Promise<void> {
    for (const [namespace, id] of place) {
      const isThere = async (): Promise<boolean> => (await this.#find(thread, namespace, id)) !== undefined
      if (await this.#puts.until(thread, isThere)) continue
      throw new Error(
        `the graph has not stored checkpoint ${id}, which it runs on: durability must be 'async' or 'sync', and the checkpointer this one`,
      )
    }
  }

  #find(thread: string, namespace: string, id: string): Promise<CheckpointTuple | undefined> {
    const configurable = { thread_id: thread, checkpoint_ns: namespace, checkpoint_id: id }
    return this.#inner.getTuple({ configurable })
  }

  /**
   * The machine that belongs to a checkpoint which is about to be put. It is as it is now when it goes on from the parent; when the
   * graph goes on from elsewhere, or what was begun on the parent was not ended, it is what the parent has.
   */
  async #keepFor(machine: Machine, next: Next): Promise<{ kept: Kept; isNew: boolean }> {
    const { thread, namespace, parent, parents, source, step } = next
    const isNested = namespace !== ''
    const here = machine.standsIn(namespace)
    const isHere = machine.standsOn(parents) && (here === parent || (isNested && here === undefined))
    const isWhole = !machine.isUsed || source === 'loop' || (isNested && source === 'input')
    const goesOn = isHere && isWhole && source !== 'fork'
    // Undefined where the thread began with another saver.
    const inherited = goesOn ? undefined : await this.#inherited(next)
    if (inherited) {
      const { id: sandbox } = await machine.box()
      return { kept: { ...inherited, sandbox }, isNew: false }
    }
    return { kept: await machine.keep(`thread ${thread}, step ${step}`), isNew: true }
  }

  async #inherited(next: Next): Promise<Kept | undefined> {
    const origin = await this.#origin(next)
    if (!origin) return undefined
    return next.source === 'loop' ? latest([keptWith(origin), ...keptSince(origin)]) : keptWith(origin)
  }

  async #origin(next: Next): Promise<CheckpointTuple | undefined> {
    const { thread, namespace, parent, parents, source, step } = next
    const own = parent === undefined ? undefined : await this.#find(thread, namespace, parent)
    if (source === 'fork' && step !== (own?.metadata?.step ?? Number.NaN) + 1) return await this.#copied(next)
    const outer = innermost(parents)
    if (own && (!outer || source === 'fork' || source === 'update' || hasParents(own, parents))) return own
    return outer && (await this.#find(thread, outer.namespace, outer.id))
  }

  /** `updateState` as `__copy__` makes a sibling of what it copies, and tells no more of it. */
  async #copied({ thread, namespace, parent, step, versions }: Next): Promise<CheckpointTuple | undefined> {
    const config = { configurable: { thread_id: thread, checkpoint_ns: namespace } }
    for await (const tuple of this.#inner.list(config)) {
      const isSibling = tuple.parentConfig?.configurable?.checkpoint_id === parent
      const { channel_versions: its } = tuple.checkpoint
      if (isSibling && tuple.metadata?.step === step - 1 && isDeepStrictEqual(its, versions)) return tuple
    }
    return undefined
  }

  /** What a task finds that runs on a checkpoint: what there was at first, or what other tasks on it have left that are not run again. */
  async #stateFor(thread: string, place: Place): Promise<Kept> {
    const states: (Kept | undefined)[] = []
    const own = innermost(place)
    for (const [namespace, id] of place) {
      const tuple = await this.#find(thread, namespace, id)
      if (!tuple) continue
      if (id === own?.id) states.push(keptWith(tuple))
      const since = keptSince(tuple)
      if (since.length > 0 && (await this.#isLast(thread, namespace, id))) states.push(...since)
    }
    const kept = latest(states)
    if (!kept) throw new Error(`checkpoint ${own?.id} of thread ${thread} was made without a sandbox`)
    return kept
  }

  /** Once the graph has gone on from a checkpoint, all its tasks are run again. */
  async #isLast(thread: string, namespace: string, id: string): Promise<boolean> {
    const config = { configurable: { thread_id: thread, checkpoint_ns: namespace } }
    for await (const { checkpoint, parentConfig } of this.#inner.list(config)) {
      if (checkpoint.id === id) return true
      if (parentConfig?.configurable?.checkpoint_id === id) return false
    }
    return true
  }

  async #orDelete<T>(stored: Promise<T>, kept: Kept | undefined): Promise<T> {
    try {
      return await stored
    } catch (error) {
      if (kept) await this.#delete(kept.checkpoint)
      throw error
    }
  }

  async #delete(checkpoint: string): Promise<void> {
    await unlessGone('checkpoint_not_found', async () => {
      await (await Sandbox.getCheckpoint(checkpoint, this.#client)).delete()
    })
  }
}

function hasParents({ metadata }: CheckpointTuple, parents: Place): boolean {
  const own = placeOf((metadata as Metadata | undefined)?.parents)
  return own.size === parents.size && [...parents].every(([namespace, id]) => own.get(namespace) === id)
}

async function unlessGone<T>(code: DeltaBoxError['code'], work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof DeltaBoxError && error.code === code) return undefined
    throw error
  }
}
