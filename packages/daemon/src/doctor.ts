/** What this machine has of what DeltaBox needs. The engine tries the kernel's part, the rest is looked at here. */
import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { access, copyFile, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import type { DoctorReport } from '@deltabox/protocol'
import type { Config } from './config.js'
import { diskSpace } from './state/disk-guard.js'

type Check = DoctorReport['checks'][number]

const run = promisify(execFile)
const NODE_MIN_MAJOR = 20
const PROBE_TIMEOUT_MS = 30_000

export async function examine(config: Config): Promise<DoctorReport> {
  const existing = await nearestExisting(config.dataDir)
  const checks = [
    checkRoot(),
    checkNode(),
    ...(await probe(config.enginePath)),
    await checkWritable(config.dataDir, existing),
    await checkSpace(existing),
    await checkReflink(existing),
  ]
  return { ok: checks.every((check) => check.ok || check.required === false), checks }
}

function checkRoot(): Check {
  const uid = process.getuid?.()
  const detail = uid === 0 ? 'running as root' : `running as user ${uid}; run it with sudo`
  return { name: 'root', ok: uid === 0, detail }
}

function checkNode(): Check {
  const major = Number(process.versions.node.split('.')[0])
  const detail = `Node.js ${process.versions.node}; ${NODE_MIN_MAJOR} or newer is needed`
  return { name: 'node', ok: major >= NODE_MIN_MAJOR, detail }
}

async function probe(enginePath: string): Promise<Check[]> {
  try {
    await access(enginePath, constants.X_OK)
  } catch {
    return [
      { name: 'engine', ok: false, detail: `there is no ${enginePath}; run \`make build\` in the checkout` },
    ]
  }
  try {
    const { stdout } = await run(enginePath, ['--probe'], { timeout: PROBE_TIMEOUT_MS })
    return [{ name: 'engine', ok: true, detail: enginePath }, ...JSON.parse(stdout).checks]
  } catch (error) {
    return [
      { name: 'engine', ok: false, detail: `${enginePath} --probe failed: ${(error as Error).message}` },
    ]
  }
}

async function checkWritable(dataDir: string, existing: string): Promise<Check> {
  try {
    await access(existing, constants.W_OK)
    return { name: 'data directory', ok: true, detail: dataDir }
  } catch (error) {
    const detail = `${dataDir} cannot be written: ${(error as Error).message}; set DELTABOX_DATA to another directory`
    return { name: 'data directory', ok: false, detail }
  }
}

async function checkSpace(existing: string): Promise<Check> {
  const { free, reserve } = await diskSpace(existing)
  const detail = `${gib(free)} free for sandboxes; at least ${gib(reserve)} must stay free`
  return { name: 'disk space', ok: free > reserve, detail }
}

/** Without it the first write to a file of an earlier layer copies all of the file. */
async function checkReflink(existing: string): Promise<Check> {
  const name = 'reflink'
  let trial: string | undefined
  try {
    trial = await mkdtemp(path.join(existing, '.reflink-'))
    await writeFile(path.join(trial, 'from'), 'x')
    await copyFile(path.join(trial, 'from'), path.join(trial, 'to'), constants.COPYFILE_FICLONE_FORCE)
    return {
      name,
      ok: true,
      detail: `${existing} shares the content of files with earlier checkpoints instead of copying it`,
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const detail =
      code === 'ENOTSUP'
        ? `${existing} has none, so the first write to a file after a checkpoint copies all of it; \`deltabox volume create --size 20g\` makes a data directory that shares instead`
        : `cannot be tried in ${existing}: ${(error as Error).message}`
    return { name, ok: false, required: false, detail }
  } finally {
    if (trial !== undefined) await rm(trial, { recursive: true })
  }
}

function gib(bytes: number): string {
  return `${(bytes / 1024 ** 3).toFixed(1)} GiB`
}

/** The data directory is made by the first daemon; until then its parent tells. */
async function nearestExisting(directory: string): Promise<string> {
  try {
    await stat(directory)
    return directory
  } catch (error) {
    if (directory === '/' || (error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return nearestExisting(path.dirname(directory))
  }
}
