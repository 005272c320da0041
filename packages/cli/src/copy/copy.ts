import { posix } from 'node:path'
import type { Readable } from 'node:stream'
import { DeltaBoxError } from 'deltabox'

/** What both ends of a copy know of a path. */
export interface Node {
  readonly type: 'file' | 'directory' | 'symlink' | 'other'
  readonly mode: number
  readonly target?: string
}

/** One end: a tree on this host or in a sandbox. Paths are below `root`, joined by '/'; '' is the root itself. */
export interface End {
  readonly root: string
  /** As the user wrote it, for messages. */
  readonly shown: string
  /** Of the path itself, links not followed; null when there is nothing. */
  look(path: string): Promise<Node | null>
  /** Of what the root leads to, links followed. */
  lookAtRoot(): Promise<Node | null>
  names(path: string): Promise<string[]>
  read(path: string): Promise<Readable>
  writeFile(path: string, content: Readable, mode: number): Promise<void>
  makeDirectory(path: string, mode: number): Promise<void>
  makeLink(path: string, target: string): Promise<void>
  /** The same end with its root moved. */
  below(name: string): End
}

/** A name from inside a sandbox may be anything the sandbox likes; one that is a path would lead elsewhere. */
export function checkName(name: string, where: string): string {
  if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0')) {
    throw new DeltaBoxError(
      'invalid_request',
      `${where} holds an entry with the impossible name ${JSON.stringify(name)}`,
    )
  }
  return name
}

async function copyTree(from: End, to: End, path: string, node: Node): Promise<void> {
  if (node.type === 'symlink') {
    await to.makeLink(path, node.target ?? '')
  } else if (node.type === 'file') {
    await to.writeFile(path, await from.read(path), node.mode)
  } else if (node.type === 'directory') {
    await to.makeDirectory(path, node.mode)
    for (const name of await from.names(path)) {
      const inner = posix.join(path, checkName(name, from.shown))
      const found = await from.look(inner)
      if (found) await copyTree(from, to, inner, found)
    }
  } else if (path === '') {
    throw new DeltaBoxError('not_a_file', `${from.shown} is neither a file, a directory nor a link`)
  }
}

/** Like `cp -r`: into an existing directory goes the source under its own name. */
export async function copy(from: End, to: End): Promise<void> {
  const node = await from.lookAtRoot()
  if (!node) throw new DeltaBoxError('file_not_found', `${from.shown} does not exist`)
  const there = await to.lookAtRoot()
  const name = posix.basename(from.root)
  const into =
    there?.type === 'directory' && name !== '' && name !== '.' && name !== '..' ? to.below(name) : to
  await copyTree(from, into, '', node)
}
