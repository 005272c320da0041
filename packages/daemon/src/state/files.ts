/** Files inside a sandbox, for those outside. The engine resolves every path inside, with the rights of its root. */
import { Readable } from 'node:stream'
import type {
  FileEntry,
  FileList,
  FileStat,
  MakeDirectory,
  MakeSymlink,
  RemoveQuery,
  RenamePath,
  StatQuery,
  WriteQuery,
} from '@deltabox/protocol'
import type { EngineEntry, EngineStat } from '../engine/messages.js'
import { insidePath } from './processes.js'
import type { SandboxRow } from './sandbox-table.js'
import { ask, findSandbox, labelOf } from './sandboxes.js'
import type { State } from './state.js'
import { chunksOf } from './stdin.js'

const CHUNK_BYTES = 256 * 1024
const NEW_FILE_MODE = 0o644
const NEW_DIRECTORY_MODE = 0o755

/** Something to do at a path: where it is for the engine, and how it reads in a message. */
interface Errand {
  readonly sandbox: SandboxRow
  readonly path: string
  readonly doing: string
}

function errand(state: State, reference: string, verb: string, path: string): Errand {
  const sandbox = findSandbox(state, reference)
  return { sandbox, path: insidePath(sandbox, path), doing: `${verb} ${path} in sandbox ${labelOf(sandbox)}` }
}

export async function openFile(state: State, reference: string, path: string): Promise<Readable> {
  const at = errand(state, reference, 'read', path)
  return new FileReader(state, at, await openForReading(state, at.sandbox, at.path, at.doing))
}

export async function openForReading(
  state: State,
  sandbox: SandboxRow,
  path: string | Uint8Array,
  doing: string,
): Promise<number> {
  const parameters = { sandbox: sandbox.id, path, mode: 'read', parents: false } as const
  return (await ask(state, sandbox, doing, 'file.open', parameters)).handle
}

/** Reads a piece when the response has room for it. Whatever becomes of the response, the handle is closed. */
class FileReader extends Readable {
  readonly #state: State
  readonly #at: Errand
  readonly #handle: number

  constructor(state: State, at: Errand, handle: number) {
    super({ highWaterMark: CHUNK_BYTES })
    this.#state = state
    this.#at = at
    this.#handle = handle
  }

  override _read(): void {
    const { sandbox, doing } = this.#at
    ask(this.#state, sandbox, doing, 'file.read', { handle: this.#handle, max: CHUNK_BYTES }).then(
      ({ data, end }) => {
        this.#state.metrics.bytesStreamed.inc({ direction: 'out', kind: 'file' }, data.length)
        this.push(end ? null : data)
      },
      (error) => this.destroy(error),
    )
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const { sandbox, doing } = this.#at
    ask(this.#state, sandbox, doing, 'file.close', { handle: this.#handle }).then(
      () => callback(error),
      (fault) => callback(error ?? fault),
    )
  }
}

export async function writeFile(
  state: State,
  reference: string,
  query: WriteQuery,
  body: Readable,
): Promise<FileStat> {
  const { sandbox, path, doing } = errand(state, reference, 'write', query.path)
  const { handle } = await ask(state, sandbox, doing, 'file.open', {
    sandbox: sandbox.id,
    path,
    mode: query.append ? 'append' : 'write',
    create: query.mode ?? NEW_FILE_MODE,
    parents: true,
    ...(query.mode === undefined ? {} : { chmod: query.mode }),
  })
  let stat: EngineStat | undefined
  try {
    for await (const data of chunksOf(body)) {
      await ask(state, sandbox, doing, 'file.write', { handle, data })
      state.metrics.bytesStreamed.inc({ direction: 'in', kind: 'file' }, data.length)
    }
  } finally {
    stat = (await ask(state, sandbox, doing, 'file.close', { handle })).stat
  }
  return statOf(stat)
}

export async function statPath(state: State, reference: string, query: StatQuery): Promise<FileStat> {
  const { sandbox, path, doing } = errand(state, reference, 'look at', query.path)
  const follow = query.follow === true
  return statOf(await ask(state, sandbox, doing, 'file.stat', { sandbox: sandbox.id, path, follow }))
}

export async function listDirectory(state: State, reference: string, path: string): Promise<FileList> {
  const at = errand(state, reference, 'list', path)
  const entries: FileEntry[] = []
  await ask(state, at.sandbox, at.doing, 'file.list', { sandbox: at.sandbox.id, path: at.path }, (part) => {
    for (const entry of part.entries) entries.push(entryOf(entry))
  })
  entries.sort((a, b) => (a.name < b.name ? -1 : 1))
  return { entries }
}

export async function makeDirectory(state: State, reference: string, request: MakeDirectory): Promise<void> {
  const { sandbox, path, doing } = errand(state, reference, 'make directory', request.path)
  const parents = request.parents !== false
  const mode = request.mode ?? NEW_DIRECTORY_MODE
  await ask(state, sandbox, doing, 'file.mkdir', { sandbox: sandbox.id, path, parents, mode })
}

export async function renamePath(state: State, reference: string, request: RenamePath): Promise<void> {
  const { sandbox, path, doing } = errand(state, reference, 'rename', request.from)
  const to = insidePath(sandbox, request.to)
  await ask(state, sandbox, `${doing} to ${request.to}`, 'file.rename', {
    sandbox: sandbox.id,
    from: path,
    to,
  })
}

export async function makeSymlink(state: State, reference: string, request: MakeSymlink): Promise<void> {
  const { sandbox, path, doing } = errand(state, reference, 'make link', request.path)
  await ask(state, sandbox, doing, 'file.symlink', { sandbox: sandbox.id, path, target: request.target })
}

export async function removePath(state: State, reference: string, query: RemoveQuery): Promise<void> {
  const { sandbox, path, doing } = errand(state, reference, 'remove', query.path)
  const recursive = query.recursive === true
  await ask(state, sandbox, doing, 'file.remove', { sandbox: sandbox.id, path, recursive })
}

function statOf(stat: EngineStat): FileStat {
  const { type, size, mode, uid, gid, mtimeMs, target } = stat
  return { type, size, mode, uid, gid, mtimeMs, ...(target === undefined ? {} : { target: textOf(target) }) }
}

function entryOf(entry: EngineEntry): FileEntry {
  return { ...statOf(entry), name: textOf(entry.name) }
}

/** JSON carries text: what is not UTF-8 in a name shows as U+FFFD. */
function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('utf8')
}
