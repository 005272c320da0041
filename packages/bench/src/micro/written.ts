/** What a checkpoint costs after much was written to files: nothing of it is copied. */
import type { Checkpoint, Sandbox } from 'deltabox'
import { holding } from '../inside/holder.js'
import { withOwnDaemon } from '../own-daemon.js'
import { type Bench, inTurns, type Sdk, until } from '../suite.js'
import { samplesOf, timeCheckpoint } from './states.js'

const MEGABYTES = { quick: [1, 16, 64], full: [1, 16, 64, 256, 1024] }
/** So much, and writing it takes long. */
const MUCH = 256
const ROUNDS = { quick: 3, full: 15 }
const ROUNDS_OF_MUCH = 7

export async function run(bench: Bench): Promise<void> {
  await withOwnDaemon(({ Sandbox }) => measure(Sandbox, bench))
}

async function measure(sandboxes: Sdk['Sandbox'], { size, record }: Bench): Promise<void> {
  const box = await sandboxes.create()
  const holder = await holding(box, 3, 'w')
  const origin = await box.checkpoint()
  const rounds = MEGABYTES[size].map((megabytes) => {
    const samples = samplesOf(record, 'written', { megabytes })
    return async (round: number): Promise<void> => {
      if (megabytes >= MUCH && round >= ROUNDS_OF_MUCH) return
      await write(box, megabytes)
      const taken = await timeCheckpoint(sandboxes, box, samples)
      // What is not on disk yet would be written while the next one is measured.
      if (taken) await until(async () => (await sandboxes.getCheckpoint(taken.id)).state === 'durable')
      await back(box, origin, taken)
    }
  })
  await inTurns(ROUNDS[size], rounds)
  await holder.verify()
  await box.kill({ checkpoints: true })
}

async function write(box: Sandbox, megabytes: number): Promise<void> {
  const command = `dd if=/dev/zero of=/srv/data bs=1M count=${megabytes} status=none`
  const { exitCode, stderr } = await box.commands.run(command)
  if (exitCode !== 0) throw new Error(`${megabytes} MB were not written: ${stderr}`)
}

/** To where nothing was written, so that the disk holds it once only. */
async function back(box: Sandbox, origin: Checkpoint, taken: Checkpoint | undefined): Promise<void> {
  await box.rollback(origin)
  await taken?.delete()
}
