/** How much is written to a disk for an edit of a file that is kept, by a checkpoint or without a sandbox. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { withOwnDaemon } from '../own-daemon.js'
import type { Samples } from '../recorder.js'
import { type Bench, inTurns } from '../suite.js'
import { type FileSystem, type LoopVolume, loopVolume } from './loop-volume.js'
import {
  type Edit,
  FILE_KILOBYTES,
  type FileKilobytes,
  type Workspace,
  workspaceInSandbox,
  workspaceOnDisk,
} from './workspace.js'

const FILE_SYSTEMS: readonly FileSystem[] = ['ext4', 'xfs']
const EDITS: readonly Edit[] = ['in-place', 'replaced']
const ROUNDS = { quick: 1, full: 18 }
const DISK = 'what the loop device is given by'
const SYNC = 'and a sync of the file system; what all files say is verified at the end'
const TIMERS = {
  deltabox:
    `${DISK} an edit, its checkpoint until that is durable, ${SYNC}. That is the layer with the file and its directories, the journal ` +
    'of the file system, what the daemon notes in its database of the command that edits, of the layer and of the checkpoint, and its ' +
    'record beside the layer. No process runs, so there is no image of any',
  bare: `${DISK} the same edit of a file beside it, with fsync, ${SYNC}`,
}

export async function run(bench: Bench): Promise<void> {
  const directory = mkdtempSync(path.join(tmpdir(), 'dbb-volume-'))
  try {
    for (const fileSystem of FILE_SYSTEMS) {
      const volume = await loopVolume(fileSystem, path.join(directory, 'volume'))
      if (typeof volume === 'string') bench.record.skip(`writes to ${fileSystem}`, volume)
      else await onVolume(volume, fileSystem, bench).finally(() => volume.end())
    }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

async function onVolume(volume: LoopVolume, fileSystem: FileSystem, { size, record }: Bench): Promise<void> {
  const samplesOf = (workspace: Workspace, fileKilobytes: FileKilobytes, edit: Edit): Samples =>
    record.samples({
      ...{ group: 'writes', system: workspace.system, operation: 'device-bytes-per-edit', unit: 'bytes' },
      parameters: { fileSystem, fileKilobytes, edit },
      timer: TIMERS[workspace.system],
    })
  await withOwnDaemon(
    async ({ Sandbox }) => {
      const box = await Sandbox.create()
      const workspaces = [
        await workspaceInSandbox(Sandbox, box),
        await workspaceOnDisk(path.join(volume.directory, 'workspace')),
      ]
      const edits = FILE_KILOBYTES.flatMap((kilobytes) =>
        EDITS.flatMap((edit) =>
          workspaces.map((workspace) => {
            const samples = samplesOf(workspace, kilobytes, edit)
            return () => measure(volume, () => workspace.edit(kilobytes, edit), samples)
          }),
        ),
      )
      await inTurns(ROUNDS[size], edits)
      for (const workspace of workspaces) await workspace.verify()
      await box.kill({ checkpoints: true })
    },
    { DELTABOX_DATA: path.join(volume.directory, 'data') },
  )
}

async function measure(volume: LoopVolume, edit: () => Promise<void>, samples: Samples): Promise<void> {
  await volume.sync()
  const before = volume.writtenBytes()
  try {
    await edit()
    await volume.sync()
    samples.add(volume.writtenBytes() - before)
  } catch (error) {
    samples.fail(error)
  }
}
