import { link, mkdir, open, rm, stat, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DeltaBoxError } from 'deltabox'
import { gib } from '../report.js'
import { type HostTool, runHostTool, volumeError } from './host-tool.js'

const MKFS: HostTool = { name: 'mkfs.xfs', package: 'xfsprogs' }
/** mkfs.xfs refuses less. */
const MIN_BYTES = 300 * 1024 * 1024

export interface Image {
  readonly sizeBytes: number
  /** false: it was there. */
  readonly created: boolean
}

/** An image that is there is taken as it is. A new one is sparse: it takes room as it is written to. */
export async function ensureImage(image: string, wantedBytes: number | undefined): Promise<Image> {
  const there = await sizeOf(image)
  if (there !== undefined) {
    if (wantedBytes === undefined || wantedBytes === there) return { sizeBytes: there, created: false }
    throw invalid(`${image} is there with ${gib(there)}, and --size cannot change it`)
  }
  if (wantedBytes === undefined) throw invalid(`${image} is yet to be made, which takes --size`)
  if (wantedBytes < MIN_BYTES) throw invalid('--size takes 300m or more, which is the least XFS does with')
  await mkdir(dirname(image), { recursive: true })
  await refuseMoreThanFree(dirname(image), wantedBytes)
  await makeImage(image, wantedBytes)
  return { sizeBytes: wantedBytes, created: true }
}

async function sizeOf(image: string): Promise<number | undefined> {
  try {
    return (await stat(image)).size
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw volumeError(`look at ${image}`, (error as Error).message, error)
  }
}

/** A full host file system shows inside the volume as broken writes, not as a full volume. */
async function refuseMoreThanFree(directory: string, wantedBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(directory)
  if (wantedBytes <= bavail * bsize) return
  throw invalid(`--size of ${gib(wantedBytes)} is more than the ${gib(bavail * bsize)} free in ${directory}`)
}

/** It gets its name when it is whole, so that one cut short is never taken for a volume. */
async function makeImage(image: string, sizeBytes: number): Promise<void> {
  const unfinished = `${image}.${process.pid}`
  const doing = `make the volume ${image}`
  try {
    const file = await open(unfinished, 'wx', 0o600)
    await file.truncate(sizeBytes).finally(() => file.close())
    await runHostTool(MKFS, ['-q', '-m', 'reflink=1', '-L', 'deltabox', unfinished], doing)
    await link(unfinished, image)
  } catch (error) {
    throw error instanceof DeltaBoxError ? error : volumeError(doing, (error as Error).message, error)
  } finally {
    await rm(unfinished, { force: true })
  }
}

function invalid(message: string): DeltaBoxError {
  return new DeltaBoxError('invalid_request', message)
}
