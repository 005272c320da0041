/** Finds what host-masks.ts names in a host's file system, and the homes of its users. */
import type { Stats } from 'node:fs'
import { lstat, readFile } from 'node:fs/promises'
import path from 'node:path'
import type { SeedDirectory } from '../engine/messages.js'
import { namesIn } from '../names-in.js'
import { NEVER_A_HOME, SECRET_PATHS } from './host-masks.js'
import { parsePasswd, type User } from './user-list.js'

/** Below it are accounts of programs; from it on, of people. */
const FIRST_PERSON_UID = 1000

export interface Secrets {
  readonly files: readonly string[]
  readonly directories: readonly SeedDirectory[]
}

/** `root` is where the host's file system starts; paths are as they look from there. */
export async function findSecrets(root: string): Promise<Secrets> {
  const wanted = [...(await expand(root)), ...(await findHomes(root))]
  const found = await Promise.all(wanted.map(async (at) => ({ at, node: await look(path.join(root, at)) })))
  const files: string[] = []
  const directories: SeedDirectory[] = []
  for (const { at, node } of found) {
    if (node?.isDirectory()) directories.push({ path: at, mode: node.mode & 0o7777, opaque: true })
    else if (node) files.push(at)
  }
  return { files, directories }
}

async function expand(root: string): Promise<string[]> {
  const expanded = await Promise.all(
    SECRET_PATHS.map(async (secret) => {
      if (!secret.includes('*')) return [secret]
      const { dir, base } = path.posix.parse(secret)
      const [start, end] = base.split('*') as [string, string]
      const names = await namesIn(path.join(root, dir))
      return names
        .filter((name) => name.startsWith(start) && name.endsWith(end))
        .map((name) => path.posix.join(dir, name))
    }),
  )
  return expanded.flat()
}

/** /home and /root are covered anyway; others keep their homes elsewhere. */
async function findHomes(root: string): Promise<string[]> {
  const users = parsePasswd(await readFile(path.join(root, 'etc/passwd'), 'utf8'))
  const homes = users.filter((user) => isOwnDirectory(user.home))
  const secret = await Promise.all(homes.map((user) => isSecretHome(root, user)))
  return [...new Set(homes.filter((_, index) => secret[index]).map((user) => user.home))]
}

function isOwnDirectory(home: string): boolean {
  return path.posix.isAbsolute(home) && path.posix.normalize(home) === home && !NEVER_A_HOME.has(home)
}

async function isSecretHome(root: string, user: User): Promise<boolean> {
  return user.uid >= FIRST_PERSON_UID || (await look(path.join(root, user.home, '.ssh'))) !== undefined
}

async function look(file: string): Promise<Stats | undefined> {
  try {
    return await lstat(file)
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined
    throw error
  }
}
