/** The worker in a sandbox, and one like it on the host beside it. */
import type { CommandHandle, Sandbox } from 'deltabox'
import { inside, type Worker } from '../inside/worker.js'
import type { Host } from '../limit.js'
import { type Sdk, settle } from '../suite.js'

export interface Twins {
  readonly box: Sandbox
  /** Of the worker in the sandbox. */
  readonly handle: CommandHandle
  readonly worker: Worker
  /** A fork of the one on the host, in milliseconds, while nothing is asked of the sandbox. */
  bareFork(): Promise<number>
  end(): Promise<void>
}

export async function twins({ Sandbox }: Sdk, host: Host, megabytes: number): Promise<Twins> {
  const box = await Sandbox.create({ memory: '4g' })
  const { handle, worker } = await inside(box, megabytes)
  const bare = await host.twin(megabytes)
  const end = async (): Promise<void> => {
    await bare.end()
    await box.kill({ checkpoints: true })
  }
  const bareFork = async (): Promise<number> => {
    await settle()
    return await bare.worker.ask('fork')
  }
  return { box, handle, worker, bareFork, end }
}
