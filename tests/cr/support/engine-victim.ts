/** A victim, spoken to without a daemon. */
import { expect } from 'vitest'
import type { EngineClient } from '../../../packages/daemon/src/engine/client.js'

export class EngineVictim {
  readonly #engine: EngineClient
  readonly #names: { readonly sandbox: string; readonly process: string }
  #offset: number

  /** What it has written so far was read by others. */
  constructor(engine: EngineClient, sandbox: string, process: string, written: number) {
    this.#engine = engine
    this.#names = { sandbox, process }
    this.#offset = written
  }

  async verify(): Promise<void> {
    await this.#engine.request('process.write', { ...this.#names, data: Buffer.from('verify\n') })
    let text = ''
    while (!text.includes('\n')) {
      const reading = { stream: 1 as const, offset: this.#offset, max: 65536, wait: true }
      const { data, end } = await this.#engine.request('process.read', { ...this.#names, ...reading })
      if (end) throw new Error('the victim has ended')
      this.#offset += data.length
      text += Buffer.from(data).toString()
    }
    expect(text.replaceAll('\\n', '\n')).toBe('verify done\n')
  }
}
