/** A sandbox, and beside it plain directories to which the same is done. After each step both must look the same. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Checkpoint, type Client, DeltaBoxError, Sandbox } from 'deltabox'
import { Actor, type Reply, type Steps } from './actor.js'
import {
  type FileOperation,
  isStateOperation,
  type Operation,
  type Seen,
  type StateOperation,
} from './operations.js'
import { preparation } from './preparation.js'

/** `w` is a workspace with content; `r` lies in the root's tree. */
export const TREES = ['w', 'r']
const ROOT_TREE = '/root/r'
/** Sandboxes that were forked from or forked off, and are looked at again later. */
const MOST_ASIDE = 2
const STEPS_PER_DIFF = 20
/** Differences told of. */
const MOST_TOLD = 5

class Mismatch extends Error {}

/** A daemon of the test's own. */
export interface Where {
  readonly client: Client
  readonly dataDir: string
  /** Whether files show the inode number and the link count they had, which is so while no layers are put together. */
  readonly keepsNumbers: boolean
}

type Looks = Readonly<Record<string, unknown>>

interface Kept {
  readonly checkpoint: Checkpoint
  /** The model's directories as they were. */
  readonly copy: string
  /** What there was to see in them. */
  readonly looks: Looks
}

interface Aside {
  readonly box: Sandbox
  readonly copy: string
}

export interface Counts {
  steps: number
  checkpoints: number
  unchanged: number
  refused: number
  rollbacks: number
  forks: number
}

export class World {
  readonly counts: Counts = { steps: 0, checkpoints: 0, unchanged: 0, refused: 0, rollbacks: 0, forks: 0 }
  readonly #directory: string
  readonly #dataDir: string
  readonly #keepsNumbers: boolean
  #box: Sandbox
  #inside: Actor
  #outside: Actor
  readonly #host: Actor
  readonly #insideSteps: Steps = []
  readonly #outsideSteps: Steps = []
  readonly #kept: Kept[] = []
  readonly #aside: Aside[] = []
  readonly #layers = new Map<string, Record<string, unknown>>()
  #copies = 0
  #seen: Seen = { names: {}, slots: {} }

  private constructor(
    { directory, dataDir, keepsNumbers }: { directory: string; dataDir: string; keepsNumbers: boolean },
    box: Sandbox,
    actors: { inside: Actor; outside: Actor; host: Actor },
  ) {
    this.#host = actors.host
    this.#directory = directory
    this.#dataDir = dataDir
    this.#keepsNumbers = keepsNumbers
    this.#box = box
    this.#inside = actors.inside
    this.#outside = actors.outside
  }

  /** Trees with content: that of the workspace lies in the base, the root's in a first layer. */
  static async make({ client, dataDir, keepsNumbers }: Where): Promise<World> {
    const directory = mkdtempSync(join(tmpdir(), 'dbm-'))
    const countNames = keepsNumbers
    const base = join(directory, 'base')
    const model = join(directory, 'model')
    for (const path of [base, model]) mkdirSync(path)
    for (const path of [join(base, 'w'), join(model, 'r')]) mkdirSync(path, { mode: 0o755 })
    await prepare(await Actor.outside({ trees: { w: join(base, 'w') }, steps: [], countNames }), 'w')
    copyTree(join(base, 'w'), join(model, 'w'))
    const box = await Sandbox.create({ client, workspace: join(base, 'w') })
    await box.files.mkdir(ROOT_TREE)
    await prepare(await Actor.inside(box, { trees: { r: ROOT_TREE }, steps: [], countNames }), 'r')
    await prepare(await Actor.outside({ trees: { r: join(model, 'r') }, steps: [], countNames }), 'r')
    const actors = {
      inside: await Actor.inside(box, { trees: insideTrees(box), steps: [], countNames }),
      outside: await Actor.outside({ trees: treesIn(model), steps: [], countNames }),
      host: await Actor.host(),
    }
    return new World({ directory, dataDir, keepsNumbers }, box, actors)
  }

  async begin(): Promise<void> {
    await this.#compare('preparation')
    await this.#checkpoint()
  }

  /** What the next operation can be drawn from. */
  get seen(): Seen {
    return this.#seen
  }

  async step(operation: Operation): Promise<void> {
    this.counts.steps++
    if (!isStateOperation(operation)) {
      await this.#act(operation)
      return
    }
    await this.#changeState(operation)
    await this.#compare(operation.op)
  }

  /** What was put aside is as it was then; no frozen layer has changed. */
  async finish(): Promise<void> {
    for (const aside of this.#aside.splice(0)) await this.#checkAside(aside)
    await this.#checkLayers()
  }

  async #checkLayers(): Promise<void> {
    for (const [path, before] of this.#layers) {
      if (!existsSync(path)) continue
      const different = differences(await this.#lookAtLayer(path), before, ['now', 'then'])
      if (different !== '' && !(await isRemoved(path)))
        throw new Mismatch(`the frozen layer ${path} has changed: ${different}`)
    }
  }

  async end(): Promise<void> {
    await this.#outside.end()
    await this.#host.end()
    for (const { box } of this.#aside) await box.kill({ checkpoints: true })
    await this.#box.kill({ checkpoints: true })
    for (const { checkpoint } of this.#kept) await checkpoint.delete()
    rmSync(this.#directory, { recursive: true, force: true })
  }

  // ---- a file operation ----

  async #act(operation: FileOperation): Promise<void> {
    const step = { ...operation, step: this.counts.steps }
    const [inside, outside] = await Promise.all([
      this.#inside.ask({ ...step, tell: 'digest' }),
      this.#outside.ask({ ...step, tell: 'names' }),
    ])
    this.#note(this.#insideSteps, inside)
    this.#note(this.#outsideSteps, outside)
    this.#seen = { names: outside.names ?? {}, slots: outside.slots ?? {} }
    const [here, there] = [JSON.stringify(inside.result), JSON.stringify(outside.result)]
    if (here !== there) throw new Mismatch(`the result is ${here} inside, ${there} outside`)
    if (inside.digest !== outside.digest) await this.#tellDifference()
    if (this.counts.steps % STEPS_PER_DIFF === 0) {
      await this.#compareWithKept(this.#box, await this.#outside.look())
    }
  }

  #note(steps: Steps, { began }: Reply): void {
    if (began !== null) steps.push([this.counts.steps, began])
  }

  // ---- comparing ----

  async #compare(what: string): Promise<void> {
    const [inside, outside] = await Promise.all([
      this.#inside.ask({ op: 'nothing', tell: 'digest' }),
      this.#outside.ask({ op: 'nothing', tell: 'names' }),
    ])
    this.#seen = { names: outside.names ?? {}, slots: outside.slots ?? {} }
    if (inside.digest !== outside.digest) await this.#tellDifference(`after ${what}: `)
  }

  async #tellDifference(when = ''): Promise<never> {
    const [inside, outside] = await Promise.all([this.#inside.look(), this.#outside.look()])
    throw new Mismatch(`${when}${differences(inside, outside)}`)
  }

  /** What is said to differ from an earlier checkpoint is what differs. */
  async #compareWithKept(now: Sandbox | Checkpoint, looks: Looks): Promise<void> {
    const earlier = this.#keptAt(this.counts.steps)
    const changes = await now.diff(earlier.checkpoint)
    const told = Object.fromEntries(
      changes.flatMap(({ kind, path }) => {
        const name = this.#nameOf(path)
        return name === undefined ? [] : [[name, kind]]
      }),
    )
    const different = differences(told, changesBetween(earlier.looks, looks), ['told', 'true'])
    if (different !== '')
      throw new Mismatch(`the diff from checkpoint ${earlier.checkpoint.id}: ${different}`)
  }

  #nameOf(path: string): string | undefined {
    for (const [tree, root] of Object.entries(insideTrees(this.#box))) {
      if (path === root || path.startsWith(`${root}/`)) return `${tree}:${path.slice(root.length + 1)}`
    }
    return undefined
  }

  // ---- an operation on the state ----

  async #changeState(operation: StateOperation): Promise<void> {
    switch (operation.op) {
      case 'checkpoint':
        return await this.#checkpoint()
      case 'rollback':
        return await this.#rollback(this.#keptAt(operation.checkpoint))
      case 'fork':
        return await this.#fork(operation)
    }
  }

  #keptAt(number: number): Kept {
    const kept = this.#kept[number % this.#kept.length]
    if (!kept) throw new Error('no checkpoint was taken yet')
    return kept
  }

  async #checkpoint(): Promise<void> {
    const before = await this.#inodes()
    let checkpoint: Checkpoint
    try {
      checkpoint = await this.#box.checkpoint()
    } catch (error) {
      if (!isRefusal(error)) throw error
      this.counts.refused++
      return
    }
    this.counts.checkpoints++
    if (checkpoint.unchanged) this.counts.unchanged++
    const after = await this.#inodes()
    const changed = Object.keys(before).filter((name) => before[name] !== after[name])
    if (this.#keepsNumbers && changed.length > 0)
      throw new Mismatch(`the checkpoint gave new inode numbers to ${changed.join(', ')}`)
    const kept = { checkpoint, copy: this.#copyModel(), looks: await this.#outside.look() }
    this.#kept.push(kept)
    await this.#noteLayers()
    await this.#compareWithKept(checkpoint, kept.looks)
  }

  async #rollback({ checkpoint, copy }: Kept): Promise<void> {
    this.counts.rollbacks++
    await this.#box.rollback(checkpoint)
    await this.#outside.end()
    this.#putModel(copy)
    await this.#startActors()
  }

  async #fork({ checkpoint, goOnIn }: StateOperation & { op: 'fork' }): Promise<void> {
    const kept = checkpoint === undefined ? undefined : this.#keptAt(checkpoint)
    let child: Sandbox | undefined
    try {
      ;[child] = await (kept ? kept.checkpoint.fork() : this.#box.fork())
    } catch (error) {
      if (!isRefusal(error)) throw error
      this.counts.refused++
      return
    }
    if (!child) throw new Error('the fork gave nothing')
    this.counts.forks++
    const copy = this.#copyModel()
    if (goOnIn === 'parent') {
      await this.#putAside({ box: child, copy: kept?.copy ?? copy })
      return
    }
    await this.#inside.end()
    await this.#outside.end()
    await this.#putAside({ box: this.#box, copy })
    this.#box = child
    if (kept) this.#putModel(kept.copy)
    await this.#startActors()
  }

  async #putAside(aside: Aside): Promise<void> {
    this.#aside.push(aside)
    if (this.#aside.length > MOST_ASIDE) await this.#checkAside(this.#aside.shift() as Aside)
  }

  async #checkAside({ box, copy }: Aside): Promise<void> {
    const inside = await this.#startInside(box)
    const outside = await this.#startOutside(copy)
    const [here, there] = await Promise.all([inside.look(), outside.look()])
    await outside.end()
    await box.kill()
    const different = differences(here, there)
    if (different !== '') throw new Mismatch(`in a sandbox that was left alone: ${different}`)
  }

  async #startActors(): Promise<void> {
    this.#inside = await this.#startInside(this.#box)
    this.#outside = await this.#startOutside(join(this.#directory, 'model'))
  }

  #startInside(box: Sandbox): Promise<Actor> {
    const [steps, countNames] = [this.#insideSteps, this.#keepsNumbers]
    return Actor.inside(box, { trees: insideTrees(box), steps, countNames })
  }

  #startOutside(directory: string): Promise<Actor> {
    const [steps, countNames] = [this.#outsideSteps, this.#keepsNumbers]
    return Actor.outside({ trees: treesIn(directory), steps, countNames })
  }

  #copyModel(): string {
    const copy = join(this.#directory, `copy${++this.#copies}`)
    copyTree(join(this.#directory, 'model'), copy)
    return copy
  }

  #putModel(copy: string): void {
    const model = join(this.#directory, 'model')
    rmSync(model, { recursive: true, force: true })
    copyTree(copy, model)
  }

  async #inodes(): Promise<Record<string, number>> {
    return (await this.#inside.ask({ op: 'inodes', tell: 'nothing' })).result.value as Record<string, number>
  }

  // ---- layers on disk ----

  /** The record is written when a layer is frozen. */
  async #noteLayers(): Promise<void> {
    const families = join(this.#dataDir, 'families')
    for (const family of readdirSync(families)) {
      const layers = join(families, family, 'layers')
      for (const layer of existsSync(layers) ? readdirSync(layers) : []) {
        const path = join(layers, layer)
        if (this.#layers.has(path) || !existsSync(join(path, 'layer.json'))) continue
        this.#layers.set(path, await this.#lookAtLayer(path))
      }
    }
  }

  async #lookAtLayer(path: string): Promise<Record<string, unknown>> {
    const { result } = await this.#host.ask({ op: 'layer', path, tell: 'nothing' })
    if (result.error) throw new Error(`cannot look at ${path}: ${result.error}`)
    // What merging keeps beside the trees may be added to.
    return Object.fromEntries(
      Object.entries(result.value as Record<string, unknown>).filter(
        ([name]) => !name.startsWith('/origins'),
      ),
    )
  }
}

/** Times are no change, nor is another name of the same file. */
function changesBetween(before: Looks, after: Looks): Record<string, 'A' | 'M' | 'D'> {
  const [old, now] = [withoutTimes(before), withoutTimes(after)]
  const changes: Record<string, 'A' | 'M' | 'D'> = {}
  for (const name of new Set([...Object.keys(old), ...Object.keys(now)])) {
    if (old[name] === undefined) changes[name] = 'A'
    else if (now[name] === undefined) changes[name] = 'D'
    else if (old[name] !== now[name]) changes[name] = 'M'
  }
  return changes
}

function withoutTimes(looks: Looks): Record<string, string> {
  const files = Object.entries(looks as Record<string, { facts?: unknown[] }>)
  return Object.fromEntries(
    files.flatMap(([name, look]) => {
      if (look?.facts === undefined) return []
      const {
        facts,
        names: _,
        'same as': __,
        ...rest
      } = look as Record<string, unknown> & { facts: unknown[] }
      return [[name, JSON.stringify([facts.slice(0, -1), rest])]]
    }),
  )
}

async function prepare(actor: Actor, tree: string): Promise<void> {
  for (const operation of preparation(tree)) {
    const { result } = await actor.ask(operation)
    if (result.error) throw new Error(`cannot prepare: ${JSON.stringify(operation)}: ${result.error}`)
  }
  await actor.end()
}

function insideTrees(box: Sandbox): Record<string, string> {
  return { w: box.info.workspace ?? '', r: ROOT_TREE }
}

function treesIn(directory: string): Record<string, string> {
  return Object.fromEntries(TREES.map((tree) => [tree, join(directory, tree)]))
}

function copyTree(from: string, to: string): void {
  const { status, stderr } = spawnSync('cp', ['-a', from, to], { encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
}

/** What nobody needs any more goes in the background, one file after the other. */
async function isRemoved(path: string): Promise<boolean> {
  for (let tries = 0; tries < 50 && existsSync(path); tries++) await delay(100)
  return !existsSync(path)
}

function isRefusal(error: unknown): boolean {
  return error instanceof DeltaBoxError && error.code === 'checkpoint_refused'
}

function differences(
  left: Record<string, unknown>,
  right: Record<string, unknown>,
  titles: readonly [string, string] = ['inside', 'outside'],
): string {
  const names = [...new Set([...Object.keys(left), ...Object.keys(right)])].sort()
  const lines = names
    .map((name) => [name, JSON.stringify(left[name]), JSON.stringify(right[name])])
    .filter(([, one, other]) => one !== other)
    .map(([name, ...both]) =>
      [JSON.stringify(name), ...both.map((text, at) => `    ${titles[at]}: ${text}`)].join('\n'),
    )
  return lines.length > 0 ? `${lines.length} differ:\n  ${lines.slice(0, MOST_TOLD).join('\n  ')}` : ''
}
