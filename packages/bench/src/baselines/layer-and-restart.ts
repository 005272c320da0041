/** The files as a container engine keeps them when it commits: layers of what was changed. */
import { mkdirSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { Child } from './child.js'
import type { Contender, Contest, Task } from './contender.js'
import { copyTree, newPlace, underWay } from './place.js'
import { mustBeRoot } from './run.js'

/** Numbers of layers, the oldest first. */
type Layers = readonly number[]

/**
 * The mounts are in a namespace of the program and go with it. Directories are named from where they are, as all of them have to
 * fit into what mount(2) takes.
 */
const MOUNT = `set -e
mount --bind "$1" base
mount -t overlay none -o "lowerdir=$2,upperdir=$3/upper,workdir=$3/work,index=off,redirect_dir=on" workspace
shift 3
exec "$@"`

class LayerAndRestart implements Contest {
  readonly #place: string = newPlace('layers')
  readonly #task: Task
  #child: Child | undefined
  /** What is below of what the program writes now. */
  #below: Layers = []
  #lastLayer = 0
  #lastTop = 0

  constructor(task: Task) {
    this.#task = task
    for (const name of ['base', 'workspace']) mkdirSync(path.join(this.#place, name))
  }

  ask(line: string): Promise<string> {
    if (!this.#child) throw new Error('the program does not run')
    return this.#child.ask(line)
  }

  act(line: string): Promise<string> {
    return this.ask(line)
  }

  /** The program goes on writing to what is copied. */
  async checkpoint(): Promise<Layers> {
    this.#lastLayer += 1
    const layer = this.#lastLayer
    await copyTree(this.#inPlace(`top${this.#lastTop}/upper`), this.#inPlace(String(layer)))
    return [...this.#below, layer]
  }

  async restore(kept: unknown): Promise<void> {
    this.#below = kept as Layers
    await this.#child?.kill()
    await rm(this.#inPlace(`top${this.#lastTop}`), { recursive: true, force: true })
    this.#lastTop += 1
    const top = `top${this.#lastTop}`
    for (const name of ['upper', 'work']) await mkdir(this.#inPlace(`${top}/${name}`), { recursive: true })
    const { workspace, program, args } = this.#task
    const lower = [...this.#below.toReversed(), 'base'].join(':')
    const mount = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', MOUNT, 'sh']
    const command = [...mount, workspace, lower, top, 'python3', program, this.#inPlace('workspace'), ...args]
    this.#child = new Child(command, this.#place, this.#inPlace('errors'))
    await this.#child.start()
  }

  /** Others may stand on it. */
  async forget(): Promise<void> {}

  async end(): Promise<void> {
    await this.#child?.kill()
    await rm(this.#place, { recursive: true, force: true })
  }

  #inPlace(name: string): string {
    return path.join(this.#place, name)
  }
}

export const layerAndRestart: Contender = {
  name: 'layer-and-restart',
  about:
    'overlayfs: a copy of what was written becomes a layer, as in a commit of a container engine; the program is started anew on the layers and has nothing in memory of what it had done',
  bringsMemoryBack: false,
  begin: async (task) => {
    mustBeRoot()
    return await underWay(new LayerAndRestart(task), (contest) => contest.restore([]))
  },
}
