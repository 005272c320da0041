/** A daemon for a test file, from before its first test until after its last. */
import { Client } from 'deltabox'
import { afterAll, beforeAll } from 'vitest'
import { TestDaemon } from './daemon.js'

export interface Used {
  readonly daemon: TestDaemon
  readonly client: Client
}

/** What it gives is there once the tests run. */
export function useDaemon(env: Record<string, string> = {}): Used {
  const used = {} as { daemon: TestDaemon; client: Client }
  beforeAll(async () => {
    used.daemon = await TestDaemon.start(env)
    used.client = new Client({ url: used.daemon.url })
  })
  afterAll(() => used.daemon?.clean())
  return used
}
