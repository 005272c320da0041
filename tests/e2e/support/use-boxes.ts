/** A daemon for a test file, and sandboxes that go with the test they were made in. */
import { Sandbox } from 'deltabox'
import { afterEach, expect } from 'vitest'
import { type Used, useDaemon } from './use-daemon.js'

interface Boxes {
  /** What it gives is there once the tests run. */
  readonly the: Used
  create(options?: object): Promise<Sandbox>
  /** Those go as well. */
  keep<T extends Sandbox[]>(made: T): T
}

export function useBoxes(): Boxes {
  const the = useDaemon()
  const boxes: Sandbox[] = []
  afterEach(async () => {
    await Promise.all(boxes.splice(0).map((box) => box.kill({ checkpoints: true })))
  })
  const keep = <T extends Sandbox[]>(made: T): T => {
    boxes.push(...made)
    return made
  }
  const create = async (options: object = {}): Promise<Sandbox> => {
    const box = await Sandbox.create({ client: the.client, ...options })
    boxes.push(box)
    return box
  }
  return { the, create, keep }
}

/** What a script prints that goes well and complains of nothing. */
export async function sh(box: Sandbox, script: string): Promise<string> {
  const { exitCode, stdout, stderr } = await box.commands.run(script)
  expect(`${exitCode} ${stderr}`).toBe('0 ')
  return stdout
}
