import { constants } from 'node:fs'
import {
  chmod,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  rmdir,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import { DeltaBoxError } from 'deltabox'
import { type HostTool, runHostTool, volumeError } from './host-tool.js'

const MOUNT: HostTool = { name: 'mount', package: 'mount' }
const UMOUNT: HostTool = { name: 'umount', package: 'mount' }

/** Whether the image is what is mounted there; anything else that is refuses. */
export async function isMounted(image: string, path: string): Promise<boolean> {
  const device = await deviceMountedAt(path)
  if (device === undefined) return false
  const backing = await readFile(`/sys/dev/block/${device}/loop/backing_file`, 'utf8').catch(() => '')
  if (backing.trimEnd() === (await realpath(image).catch(() => undefined))) return true
  throw new DeltaBoxError('invalid_request', `Something else than ${image} is mounted at ${path}`)
}

/** `major:minor` of what was mounted there last. */
async function deviceMountedAt(path: string): Promise<string | undefined> {
  const real = await realpath(path).catch(() => path)
  const table = await readFile('/proc/self/mountinfo', 'utf8')
  const fields = table.split('\n').map((line) => line.split(' '))
  return fields.findLast(([, , , , point]) => point !== undefined && unescaped(point) === real)?.[2]
}

/** The kernel writes spaces and the like as three octal digits. */
function unescaped(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  )
}

/** Mounts the image at the directory, which is made when it is not there. The loop device ends with the mount. */
export async function mountImage(image: string, path: string): Promise<void> {
  const made = await prepareDirectory(path)
  try {
    // What is deleted in the volume gives its room back to the host.
    await runHostTool(MOUNT, ['-t', 'xfs', '-o', 'loop,discard', image, path], `mount ${image} at ${path}`)
  } catch (error) {
    if (made) await rmdir(path)
    throw error
  }
  try {
    await chmod(path, 0o700)
    await tryReflink(image, path)
  } catch (error) {
    await runHostTool(UMOUNT, [path], `take ${image} away from ${path} again`)
    if (made) await rmdir(path)
    throw error
  }
}

/** Files that are there would be out of sight below the mount. */
async function prepareDirectory(path: string): Promise<boolean> {
  try {
    if ((await mkdir(path, { recursive: true, mode: 0o700 })) !== undefined) return true
    const [name] = await readdir(path)
    if (name === undefined) return false
    throw new DeltaBoxError(
      'invalid_request',
      `${path} is not empty (${name}): name another directory, and set DELTABOX_DATA to it`,
    )
  } catch (error) {
    if (error instanceof DeltaBoxError) throw error
    throw volumeError(`use ${path}`, (error as Error).message, error)
  }
}

async function tryReflink(image: string, path: string): Promise<void> {
  const trial = await mkdtemp(join(path, '.reflink-'))
  try {
    await writeFile(join(trial, 'from'), 'x')
    await copyFile(join(trial, 'from'), join(trial, 'to'), constants.COPYFILE_FICLONE_FORCE)
  } catch (cause) {
    throw volumeError(
      `use ${image}`,
      'its file system does not share extents; remove it to have it made anew',
      cause,
    )
  } finally {
    await rm(trial, { recursive: true })
  }
}
