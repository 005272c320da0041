import { spawn } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { ErrorBody } from '@deltabox/protocol'
import { DeltaBoxError } from '@deltabox/protocol/errors'
import { volumeImageOf } from './address.js'
import { errorFromBody } from './transport.js'

/** How long to go on trying while another daemon holds the data directory: one that starts, or one that stops. */
const LOCKED_MS = 20_000
const LOCKED_PAUSE_MS = 50

/** The daemon's program, which is started and never imported. */
export function daemonProgram(): string {
  const path = fileURLToPath(import.meta.resolve('@deltabox/daemon'))
  if (!existsSync(path)) throw new DeltaBoxError('not_built', 'The daemon is not built')
  return path
}

export function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

/** Resolves once the daemon of a data directory listens: this one, or one that another client started. */
export async function startDaemon(dataDir: string, socketPath: string): Promise<void> {
  const giveUpAt = Date.now() + LOCKED_MS
  while (!(await answers(socketPath))) {
    if (process.getuid?.() !== 0) {
      throw new DeltaBoxError('needs_root', 'No daemon is running, and only root can start one')
    }
    const fault = await launch(dataDir)
    if (!fault) return
    if (fault.code !== 'data_dir_locked' || Date.now() > giveUpAt) throw fault
    await delay(LOCKED_PAUSE_MS)
  }
}

/** Starts a daemon and waits until it listens, or gives the reason why it does not. */
async function launch(dataDir: string): Promise<DeltaBoxError | undefined> {
  const program = daemonProgram()
  refuseUnmounted(dataDir)
  mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  const logPath = join(dataDir, 'daemon.log')
  const log = openSync(logPath, 'a', 0o600)
  const child = spawn(process.execPath, [program], {
    detached: true,
    stdio: ['ignore', 'pipe', log],
    cwd: '/',
    env: { ...process.env, DELTABOX_DATA: dataDir },
  })
  closeSync(log)
  const listening = await new Promise<boolean>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', () => resolve(false))
    createInterface({ input: child.stdout as Readable }).once('line', () => resolve(true))
  })
  child.stdout?.destroy()
  child.unref()
  return listening ? undefined : faultOf(child.pid ?? 0, dataDir, readFileSync(logPath, 'utf8'))
}

/** What a daemon wrote below the mount point of its volume would be lost to sight, and would keep it from being mounted. */
function refuseUnmounted(dataDir: string): void {
  const image = volumeImageOf(dataDir)
  if (!existsSync(image)) return
  const mounted = existsSync(dataDir) && statSync(dataDir).dev !== statSync(dirname(dataDir)).dev
  if (mounted) return
  throw new DeltaBoxError(
    'data_dir_invalid',
    `The volume ${image} is not mounted at ${dataDir}: run \`deltabox volume create\` for it first`,
  )
}

/** The daemon's last line tells why it ended; daemons started at the same time write the same log. */
function faultOf(pid: number, dataDir: string, log: string): DeltaBoxError {
  const lines = log.trimEnd().split('\n')
  const own = lines.findLast((line) => line.includes(`"pid":${pid},`) && line.includes('"error":'))
  if (own) return errorFromBody(JSON.parse(own) as ErrorBody)
  return new DeltaBoxError(
    'daemon_unreachable',
    `The daemon of ${dataDir} did not start: ${lines.slice(-3).join('\n')}`,
  )
}
