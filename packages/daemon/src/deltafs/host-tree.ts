/**
 * Writing into a directory of the host that others may write to as well. Every step goes through descriptors of
 * directories that were opened one by one, never through a link: /proc/self/fd/N/name is openat() where Node has none.
 */
import { randomBytes } from 'node:crypto'
import { type BigIntStats, constants, type Dirent } from 'node:fs'
import {
  type FileHandle,
  lchown,
  lstat,
  mkdir,
  open,
  readlink,
  rename,
  rmdir,
  symlink,
  unlink,
} from 'node:fs/promises'

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW
const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW

export interface Owner {
  readonly uid: number
  readonly gid: number
}

/** A component of the path is not there, or is no real directory. */
export class NotThereError extends Error {
  override readonly name = 'NotThereError'
}

/** A name in an open directory. */
export interface Place {
  readonly directory: FileHandle
  readonly name: Buffer
}

export class HostTree {
  readonly #root: FileHandle
  /** Changes come directory by directory. */
  #last: { path: Buffer; directory: FileHandle } | undefined

  private constructor(root: FileHandle) {
    this.#root = root
  }

  static async open(root: string): Promise<HostTree> {
    return new HostTree(await open(root, DIRECTORY))
  }

  async close(): Promise<void> {
    await this.#forgetLast()
    await this.#root.close()
  }

  /** Stays open until the next call. */
  async place(path: Buffer): Promise<Place> {
    const slash = path.lastIndexOf('/')
    const parent = path.subarray(0, Math.max(0, slash))
    const name = path.subarray(slash + 1)
    if (parent.length === 0) return { directory: this.#root, name }
    if (!this.#last?.path.equals(parent)) {
      await this.#forgetLast()
      this.#last = { path: parent, directory: await this.#openDirectory(parent) }
    }
    return { directory: this.#last.directory, name }
  }

  async #forgetLast(): Promise<void> {
    const last = this.#last
    this.#last = undefined
    await last?.directory.close()
  }

  async #openDirectory(path: Buffer): Promise<FileHandle> {
    let directory = this.#root
    for (const name of path.toString('latin1').split('/')) {
      try {
        const next = await open(at({ directory, name: Buffer.from(name, 'latin1') }), DIRECTORY)
        if (directory !== this.#root) await directory.close()
        directory = next
      } catch (cause) {
        if (directory !== this.#root) await directory.close()
        if (!['ENOENT', 'ENOTDIR', 'ELOOP'].includes((cause as NodeJS.ErrnoException).code ?? '')) throw cause
        throw new NotThereError(`${path.toString()} is no directory`, { cause })
      }
    }
    return directory
  }

  /** Of the thing itself, not of what a link leads to. Undefined when it, or a directory on the way, is not there. */
  async look(path: Buffer): Promise<BigIntStats | undefined> {
    try {
      return await lstat(at(await this.place(path)), { bigint: true })
    } catch (error) {
      if (error instanceof NotThereError || (error as NodeJS.ErrnoException).code === 'ENOENT')
        return undefined
      throw error
    }
  }

  async target(path: Buffer): Promise<Buffer> {
    return readlink(at(await this.place(path)), { encoding: 'buffer' })
  }

  async openFile(path: Buffer): Promise<FileHandle> {
    return open(at(await this.place(path)), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  }

  async remove(path: Buffer, isDirectory: boolean): Promise<void> {
    const place = await this.place(path)
    await (isDirectory ? rmdir(at(place)) : unlink(at(place)))
    // The directory that was just removed may be the one kept open.
    if (isDirectory) await this.#forgetLast()
  }

  async ownerOfParent(path: Buffer): Promise<Owner> {
    const { uid, gid } = await (await this.place(path)).directory.stat()
    return { uid, gid }
  }

  /** Whoever reads the file sees the old content or the new. */
  async writeFile(
    path: Buffer,
    content: AsyncIterable<Uint8Array>,
    mode: number,
    owner: Owner,
  ): Promise<void> {
    await this.#replace(path, async (temporary) => {
      const file = await open(temporary, NEW_FILE, 0o600)
      try {
        for await (const piece of content) await file.writeFile(piece)
        await file.chown(owner.uid, owner.gid)
        await file.chmod(mode)
      } finally {
        await file.close()
      }
    })
  }

  async writeSymlink(path: Buffer, target: Buffer, owner: Owner): Promise<void> {
    await this.#replace(path, async (temporary) => {
      await symlink(target, temporary)
      await lchown(temporary, owner.uid, owner.gid)
    })
  }

  async #replace(path: Buffer, make: (temporary: Buffer) => Promise<void>): Promise<void> {
    const place = await this.place(path)
    const temporary = at({ ...place, name: Buffer.from(`.deltabox-${randomBytes(6).toString('hex')}`) })
    try {
      await make(temporary)
      await rename(temporary, at(place))
    } catch (error) {
      await unlink(temporary).catch((fault) => {
        if ((fault as NodeJS.ErrnoException).code !== 'ENOENT') throw fault
      })
      throw error
    }
  }

  async makeDirectory(path: Buffer, mode: number, owner: Owner): Promise<void> {
    await mkdir(at(await this.place(path)), 0o700)
    await this.setDirectory(path, mode, owner)
  }

  async setDirectory(path: Buffer, mode: number, owner: Owner): Promise<void> {
    const directory = await open(at(await this.place(path)), DIRECTORY)
    try {
      await directory.chown(owner.uid, owner.gid)
      await directory.chmod(mode)
    } finally {
      await directory.close()
    }
  }
}

function at({ directory, name }: Place): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${directory.fd}/`), name])
}

export function typeOf(
  node: Pick<Dirent, 'isFile' | 'isDirectory' | 'isSymbolicLink'>,
): 'file' | 'directory' | 'symlink' | 'other' {
  if (node.isFile()) return 'file'
  if (node.isDirectory()) return 'directory'
  return node.isSymbolicLink() ? 'symlink' : 'other'
}
