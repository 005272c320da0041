import { posix } from 'node:path'
import { DeltaBoxError, type FileStat, Sandbox } from 'deltabox'
import type { End, Node } from './copy.js'

function toNode(stat: FileStat): Node {
  const type =
    stat.type === 'file' || stat.type === 'directory' || stat.type === 'symlink' ? stat.type : 'other'
  return { type, mode: stat.mode, ...(stat.target === undefined ? {} : { target: stat.target }) }
}

function endOf(box: Sandbox, root: string): End {
  const at = (path: string): string => posix.join(root, path)
  const shown = `${box.name ?? box.id}:${root}`
  const look = async (path: string, follow: boolean): Promise<Node | null> => {
    try {
      return toNode(await box.files.stat(path, { follow }))
    } catch (error) {
      if (error instanceof DeltaBoxError && error.code === 'file_not_found') return null
      throw error
    }
  }
  return {
    root,
    shown,
    look: (path) => look(at(path), false),
    lookAtRoot: () => look(root, true),
    names: async (path) => (await box.files.list(at(path))).map((entry) => entry.name),
    read: (path) => box.files.read(at(path), { format: 'stream' }),
    writeFile: (path, content, mode) => box.files.write(at(path), content, { mode: mode & 0o777 }),
    makeDirectory: (path, mode) => box.files.mkdir(at(path), { mode: mode & 0o777 }),
    makeLink: async (path, target) => {
      const there = await look(at(path), false)
      if (there && there.type !== 'directory') await box.files.remove(at(path))
      await box.files.symlink(at(path), target)
    },
    below: (name) => endOf(box, posix.join(root, name)),
  }
}

/** A tree in a sandbox. */
export async function sandboxEnd(where: { sandbox: string; path: string }): Promise<End> {
  const box = await Sandbox.connect(where.sandbox)
  return endOf(box, posix.resolve(box.info.cwd, where.path))
}
