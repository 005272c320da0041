/** The directories a daemon lives in, and what tells others that it does. */
import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { access, chmod, mkdir, open, readdir, readFile, realpath, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { DeltaBoxError } from '@deltabox/protocol'
import type { Config } from '../config.js'

const FORMAT = { magic: 'deltabox-store', version: 1 } as const
const DATABASE = 'deltabox.db'
/** What may be there before the first daemon is: whoever starts it sends its log here, and a power cut may have come in between. */
const NOT_OURS_YET = /^(daemon\.log|format\.\d+)$/

export interface Paths {
  readonly dataDir: string
  readonly runDir: string
  readonly database: string
  readonly daemonFile: string
  readonly families: string
  readonly socket: string
}

export interface DaemonRecord {
  readonly pid: number
  readonly url: string
  readonly version: string
}

export async function prepareDirectories(config: Pick<Config, 'dataDir' | 'runBase'>): Promise<Paths> {
  const dataDir = await prepareDataDir(config.dataDir)
  // Short, because the path of a unix socket may have 107 bytes.
  const runDir = path.join(config.runBase, createHash('sha256').update(dataDir).digest('hex').slice(0, 12))
  await makeDirectory(config.runBase, 0o755)
  await makeDirectory(runDir, 0o700)
  const paths: Paths = {
    dataDir,
    runDir,
    database: path.join(dataDir, DATABASE),
    daemonFile: path.join(dataDir, 'daemon.json'),
    families: path.join(dataDir, 'families'),
    socket: path.join(runDir, 'daemon.sock'),
  }
  await makeDirectory(paths.families, 0o700)
  return paths
}

/** Of a store that is there: nothing is made where there is none. */
export async function existingDirectories(config: Pick<Config, 'dataDir' | 'runBase'>): Promise<Paths> {
  await access(path.join(config.dataDir, DATABASE)).catch((cause) => {
    throw unusable(config.dataDir, 'there is no store in it', cause)
  })
  return await prepareDirectories(config)
}

async function prepareDataDir(wanted: string): Promise<string> {
  await makeDirectory(wanted, 0o700)
  const dataDir = await realpath(wanted)
  const formatFile = path.join(dataDir, 'format')
  const format = await readIfThere(formatFile)
  if (format === undefined) {
    await refuseForeign(dataDir)
    await chmod(dataDir, 0o700)
    await writeWhole(formatFile, `${JSON.stringify(FORMAT)}\n`)
  } else {
    checkFormat(dataDir, format)
  }
  await access(dataDir, constants.W_OK).catch((cause) => {
    throw unusable(dataDir, (cause as Error).message, cause)
  })
  return dataDir
}

/** Somebody's own directory, named by mistake, must not be made ours. */
async function refuseForeign(dataDir: string): Promise<void> {
  const foreign = (await readdir(dataDir)).filter((name) => !NOT_OURS_YET.test(name))
  if (foreign.length > 0) {
    throw unusable(dataDir, `it is not empty (${foreign[0]}) and holds no \`format\` file of DeltaBox's`)
  }
}

function checkFormat(dataDir: string, text: string): void {
  let format: { magic?: unknown; version?: unknown } | null
  try {
    format = JSON.parse(text)
  } catch (cause) {
    throw unusable(dataDir, 'its `format` file is not JSON', cause)
  }
  if (format?.magic !== FORMAT.magic) throw unusable(dataDir, 'its `format` file is not of DeltaBox’s')
  if (format.version !== FORMAT.version) {
    throw unusable(dataDir, `it has format ${format.version}, this daemon knows ${FORMAT.version}`)
  }
}

async function makeDirectory(directory: string, mode: number): Promise<void> {
  try {
    await mkdir(directory, { recursive: true, mode })
  } catch (cause) {
    throw unusable(directory, (cause as Error).message, cause)
  }
}

export async function readDaemonRecord(paths: Pick<Paths, 'daemonFile'>): Promise<DaemonRecord | undefined> {
  const text = await readIfThere(paths.daemonFile)
  return text === undefined ? undefined : JSON.parse(text)
}

export async function announceDaemon(paths: Paths, record: DaemonRecord): Promise<void> {
  await writeWhole(paths.daemonFile, `${JSON.stringify(record)}\n`)
}

export async function withdrawDaemon(paths: Paths): Promise<void> {
  await rm(paths.daemonFile, { force: true })
  await rm(paths.socket, { force: true })
}

/** Readers see the old content or the new, never a part: after a power cut too. */
async function writeWhole(file: string, content: string): Promise<void> {
  const temporary = `${file}.${process.pid}`
  const opened = await open(temporary, 'w', 0o600)
  try {
    await opened.writeFile(content)
    await opened.sync()
  } finally {
    await opened.close()
  }
  await rename(temporary, file)
}

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

function unusable(directory: string, why: string, cause?: unknown): DeltaBoxError {
  return new DeltaBoxError('data_dir_invalid', `cannot use ${directory}: ${why}`, {
    cause,
    details: { path: directory },
  })
}
