/** Two engines never share a range of user ids, whoever started them. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { EngineClient } from '../../packages/daemon/src/engine/client.js'
import {
  claimedUids,
  type EngineProcessId,
  IdsTakenError,
  killEngine,
  launchEngine,
  startTicks,
} from '../../packages/daemon/src/engine/launch.js'

const program = fileURLToPath(new URL('../../native/build/deltabox-engine', import.meta.url))
/** Above all that daemons draw. */
const uidBase = 0x7e000000

let directory: string
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'dbx-ids-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

async function launch(name: string): Promise<EngineProcessId> {
  const socketPath = path.join(directory, `${name}.sock`)
  await launchEngine({ program, socketPath, uidBase, logPath: path.join(directory, `${name}.log`) })
  const silent = { event: () => undefined, answered: () => undefined, lost: () => undefined }
  const { client, hello } = await EngineClient.connect(socketPath, silent)
  client.close()
  return { pid: hello.pid, startTicks: (await startTicks(hello.pid)) ?? 0 }
}

it('are refused while another engine has them, and free as soon as that is gone', async () => {
  for (let round = 0; round < 3; round++) {
    const first = await launch(`first-${round}`)
    try {
      await expect(launch(`second-${round}`)).rejects.toThrow(IdsTakenError)
      expect(await claimedUids()).toContain(uidBase)
    } finally {
      await killEngine(first)
    }
  }
})
