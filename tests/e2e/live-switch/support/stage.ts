/** A daemon for a test file, and checkpoints that are looked at from all sides. */
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { type Checkpoint, Client, type CreateOptions, Sandbox, type StartOptions } from 'deltabox'
import { afterAll, afterEach, beforeAll, expect } from 'vitest'
import { TestDaemon } from '../../support/daemon.js'
import { census, type Member } from './census.js'
import { FrozenLayers, LayerDigests } from './frozen-layers.js'
import { Interpreter } from './interpreter.js'

interface TakenCheckpoint {
  readonly checkpoint: Checkpoint
  /** The directory of the layer that it froze. */
  readonly layer: string
}

/** A sandbox whose frozen layers are watched. */
export class Scene {
  readonly box: Sandbox
  readonly layers: FrozenLayers
  /** What /proc/PID/ns/pid says of its processes. */
  readonly namespace: string

  constructor(box: Sandbox, layers: FrozenLayers, namespace: string) {
    this.box = box
    this.layers = layers
    this.namespace = namespace
  }

  python(options: StartOptions = {}): Promise<Interpreter> {
    return Interpreter.start(this.box, this.namespace, options)
  }

  async sh(script: string, options: { user?: string; cwd?: string } = {}): Promise<string> {
    const { exitCode, stdout, stderr } = await this.box.commands.run(script, options)
    expect(`${exitCode} ${stderr}`).toBe('0 ')
    return stdout
  }

  /** While processes work. */
  async checkpoint(): Promise<TakenCheckpoint> {
    const checkpoint = await this.box.checkpoint()
    expect(checkpoint.unchanged).toBe(false)
    return { checkpoint, layer: await this.layers.add() }
  }

  /** While all processes wait: nothing that the kernel tells of them is different afterwards. */
  async quietCheckpoint(): Promise<TakenCheckpoint> {
    const before = await this.quietCensus()
    const taken = await this.checkpoint()
    expect(await this.quietCensus()).toEqual(before)
    return taken
  }

  /** One after the other while processes work, each with something that was written before it. */
  async checkpoints(count: number, perSecond = 20): Promise<void> {
    const start = performance.now()
    for (let at = 0; at < count; at++) {
      await delay(start + (at * 1000) / perSecond - performance.now())
      await this.box.files.write('/opt/written', `${at}`)
      await this.checkpoint()
    }
  }

  /** Taken once all processes wait. */
  async quietCensus(): Promise<Member[]> {
    let members: Member[] = []
    const busy = (): Member[] => {
      members = census(this.namespace)
      return members.filter(({ state }) => !/^[SZT]/.test(state))
    }
    await expect.poll(busy).toEqual([])
    return members
  }
}

export interface Stage {
  daemon: TestDaemon
  client: Client
  scene(options?: CreateOptions): Promise<Scene>
}

/** Sandboxes end with the test that made them, and then the layers they have frozen are compared. */
export function useStage(): Stage {
  const scenes: Scene[] = []
  let digests: LayerDigests
  const stage = {} as Stage
  stage.scene = async (options = {}) => {
    const box = await Sandbox.create({ client: stage.client, ...options })
    const layers = new FrozenLayers(digests, stage.daemon.dataDir, box.id)
    const { stdout } = await box.commands.run('readlink /proc/self/ns/pid')
    const scene = new Scene(box, layers, stdout.trim())
    scenes.push(scene)
    return scene
  }
  beforeAll(async () => {
    digests = new LayerDigests()
    // Layers that were put together would be gone when they are compared.
    stage.daemon = await TestDaemon.start({ DELTABOX_MERGE_DEPTH: '400' })
    stage.client = new Client({ url: stage.daemon.url })
  })
  afterEach(async () => {
    for (const { box, layers } of scenes.splice(0)) {
      try {
        await layers.expectUnchanged()
      } finally {
        await box.kill({ checkpoints: true })
      }
    }
  })
  afterAll(async () => {
    digests.close()
    await stage.daemon.clean()
  })
  return stage
}

/** In a frozen layer, as the host sees it. */
export function frozenFile(layer: string, name: string): string {
  return readFileSync(`${layer}/fs0/upper/${name}`, 'latin1')
}
