/** A file system of its own in an image, on a loop device that tells how much is written to it. */
import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync, rmdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { settle } from '../suite.js'

export type FileSystem = 'ext4' | 'xfs'

const MAKE: Readonly<Record<FileSystem, readonly string[]>> = {
  // What is left for later otherwise is written while something is measured.
  ext4: ['mkfs.ext4', '-q', '-F', '-E', 'lazy_itable_init=0,lazy_journal_init=0'],
  xfs: ['mkfs.xfs', '-q', '-f', '-m', 'reflink=1'],
}
const IMAGE_BYTES = 2 ** 30
const SECTOR_BYTES = 512
/** Engines that end hold on to it for a moment. */
const BUSY_TRIES = 50

export interface LoopVolume {
  readonly directory: string
  /** By whatever, since it was mounted. */
  writtenBytes(): number
  /** Until all that was written is on the device. */
  sync(): Promise<void>
  /** Nothing of it is left. */
  end(): Promise<void>
}

/** Or why it cannot be had. */
export async function loopVolume(fileSystem: FileSystem, directory: string): Promise<LoopVolume | string> {
  const image = `${directory}.image`
  const [make = '', ...options] = MAKE[fileSystem]
  try {
    writeFileSync(image, '', { mode: 0o600 })
    truncateSync(image, IMAGE_BYTES)
    await host(make, [...options, image])
    mkdirSync(directory)
    await host('mount', ['-t', fileSystem, '-o', 'loop', image, directory])
  } catch (error) {
    rmSync(image, { force: true })
    rmSync(directory, { recursive: true, force: true })
    return (error as Error).message.trim()
  }
  const device = deviceOf(directory)
  return {
    directory,
    writtenBytes: () => sectorsWritten(device) * SECTOR_BYTES,
    sync: () => host('sync', ['--file-system', directory]),
    async end() {
      await unmount(directory)
      rmdirSync(directory)
      rmSync(image)
    },
  }
}

async function host(program: string, args: readonly string[]): Promise<void> {
  const PATH = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`
  await promisify(execFile)(program, args, { env: { ...process.env, PATH } })
}

/** `major:minor`, as the kernel puts them together in one number. */
function deviceOf(directory: string): string {
  const { dev } = statSync(directory)
  return `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`
}

function sectorsWritten(device: string): number {
  const fields = readFileSync(`/sys/dev/block/${device}/stat`, 'utf8').trim().split(/\s+/)
  return Number(fields[6])
}

/** The loop device ends with the mount. */
async function unmount(directory: string): Promise<void> {
  for (let left = BUSY_TRIES; left > 0; left--) {
    try {
      return await host('umount', [directory])
    } catch {
      await settle()
    }
  }
  // Out of sight it goes when the last who holds on to it does.
  await host('umount', ['--lazy', directory])
}
