import { constants, createReadStream, type Stats } from 'node:fs'
import { chmod, lstat, mkdir, open, readdir, readlink, stat, symlink, unlink } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { DeltaBoxError } from 'deltabox'
import type { End, Node } from './copy.js'

const PERMISSIONS = 0o7777

async function toNode(path: string, stats: Stats): Promise<Node> {
  const mode = stats.mode & PERMISSIONS
  if (stats.isSymbolicLink()) return { type: 'symlink', mode, target: await readlink(path) }
  return { type: stats.isFile() ? 'file' : stats.isDirectory() ? 'directory' : 'other', mode }
}

async function lookWith(look: (path: string) => Promise<Stats>, path: string): Promise<Node | null> {
  try {
    return await toNode(path, await look(path))
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT') return null
    throw hostError(error, path)
  }
}

function hostError(error: unknown, path: string): DeltaBoxError {
  const { code, message } = error as NodeJS.ErrnoException
  const known = {
    ENOENT: 'file_not_found',
    EACCES: 'permission_denied',
    ENOSPC: 'disk_full',
    ENOTDIR: 'not_directory',
  } as const
  const found = code && code in known ? known[code as keyof typeof known] : 'internal'
  return new DeltaBoxError(found, `${path} on this host: ${message}`, { cause: error })
}

/** Existing files are replaced in place, but a link is never written through: the target may hold what a sandbox made. */
async function writeFile(path: string, content: Readable, mode: number): Promise<void> {
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants
  try {
    const file = await open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode)
    await file.chmod(mode & 0o777)
    await pipeline(content, file.createWriteStream())
  } catch (error) {
    content.destroy()
    throw hostError(error, path)
  }
}

async function makeDirectory(path: string, mode: number): Promise<void> {
  const there = await lookWith(lstat, path)
  if (there && there.type !== 'directory') {
    throw new DeltaBoxError('not_directory', `${path} on this host exists and is no directory`)
  }
  if (!there) await mkdir(path)
  await chmod(path, (mode & 0o777) | 0o700)
}

async function makeLink(path: string, target: string): Promise<void> {
  const there = await lookWith(lstat, path)
  if (there?.type === 'directory')
    throw new DeltaBoxError('is_directory', `${path} on this host is a directory`)
  if (there) await unlink(path)
  await symlink(target, path)
}

/** A tree of this host. */
export function hostEnd(shown: string, root: string = resolve(shown)): End {
  const at = (path: string): string => join(root, path)
  return {
    root,
    shown,
    look: (path) => lookWith(lstat, at(path)),
    lookAtRoot: () => lookWith(stat, root),
    names: (path) => readdir(at(path)),
    read: async (path) => createReadStream(at(path)),
    writeFile: (path, content, mode) => writeFile(at(path), content, mode),
    makeDirectory: (path, mode) => makeDirectory(at(path), mode),
    makeLink: (path, target) => makeLink(at(path), target),
    below: (name) => hostEnd(shown, join(root, basename(name))),
  }
}
