/** What was frozen by a checkpoint must never change: taken down right after it, and compared at the end. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { LineReader } from './line-reader.js'

const program = fileURLToPath(new URL('layer-digest.py', import.meta.url))

/** Tells all that a layer holds; one program for many questions. */
export class LayerDigests {
  readonly #child: ChildProcess
  readonly #replies: LineReader
  #last: Promise<unknown> = Promise.resolve()

  constructor() {
    this.#child = spawn('python3', [program], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#replies = new LineReader(this.#child.stdout as Readable)
  }

  of(layer: string): Promise<unknown> {
    const reply = this.#last.then(async () => {
      ;(this.#child.stdin as Writable).write(`${layer}\n`)
      return JSON.parse((await this.#replies.next()) ?? 'null')
    })
    this.#last = reply
    return reply
  }

  close(): void {
    ;(this.#child.stdin as Writable).end()
  }
}

/** Layers of a family with one sandbox. */
export class FrozenLayers {
  readonly #digests: LayerDigests
  readonly #directory: string
  readonly #taken = new Map<string, unknown>()
  #head: string

  constructor(digests: LayerDigests, dataDir: string, sandbox: string) {
    this.#digests = digests
    const families = path.join(dataDir, 'families')
    const family = readdirSync(families).find((name) =>
      existsSync(path.join(families, name, 'sandboxes', sandbox)),
    )
    this.#directory = path.join(families, family ?? 'unknown', 'layers')
    this.#head = this.#newHead()
  }

  /** The layer that is written to. */
  get head(): string {
    return this.#head
  }

  /** After every checkpoint that froze something; resolves to the layer's directory. */
  async add(): Promise<string> {
    const frozen = this.#head
    this.#head = this.#newHead()
    const held = await this.#digests.of(frozen)
    if (existsSync(frozen)) this.#taken.set(frozen, held)
    return frozen
  }

  async expectUnchanged(): Promise<void> {
    for (const [layer, then] of this.#taken) {
      // Layers that were put together into another are removed.
      const now = await this.#digests.of(layer)
      if (existsSync(layer)) expect(now, layer).toEqual(then)
    }
  }

  /** The kernel has made a directory in the work directory of a layer that is written to. */
  #newHead(): string {
    const heads = readdirSync(this.#directory)
      .map((name) => path.join(this.#directory, name))
      .filter((layer) => layer !== this.#head && !this.#taken.has(layer))
      .filter((layer) => existsSync(path.join(layer, 'fs0/work/work')))
    expect(heads).toHaveLength(1)
    return heads[0] as string
  }
}
