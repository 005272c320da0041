/** A process (holder.py) that lives through all that happens to its sandbox, and holds files of 1 KB open meanwhile. */
import { readFileSync } from 'node:fs'
import type { Sandbox } from 'deltabox'
import { program } from '../programs.js'
import { workerIn } from './worker.js'

export interface Holder {
  /** Fails where one of its files is not as it was. */
  verify(): Promise<void>
}

export async function holding(box: Sandbox, files: number, mode: 'r' | 'w'): Promise<Holder> {
  await box.files.write('/opt/holder.py', readFileSync(program('holder.py')))
  const command = ['python3', '/opt/holder.py', String(files), mode]
  const worker = workerIn(await box.commands.start(command, { stdin: true }))
  await worker.next()
  return {
    async verify() {
      const whole = await worker.ask('verify')
      if (whole !== files) throw new Error(`${whole} of ${files} open files are as they were`)
    },
  }
}
