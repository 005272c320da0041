import { spawn } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { DeltaBoxError } from '@deltabox/protocol/errors'

/** How long the daemon that has the directory may take until it listens. */
const WINNER_MS = 10_000
const WINNER_PAUSE_MS = 25

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

function lastWords(logPath: string): string {
  const lines = existsSync(logPath) ? readFileSync(logPath, 'utf8').trimEnd().split('\n') : []
  return lines.slice(-3).join('\n')
}

/** Starts the daemon of a data directory and resolves once it, or one that another client started, listens. */
export async function startDaemon(dataDir: string, socketPath: string): Promise<void> {
  if (process.getuid?.() !== 0) {
    throw new DeltaBoxError('needs_root', 'No daemon is running, and only root can start one')
  }
  const program = daemonProgram()
  mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  const logPath = join(dataDir, 'daemon.log')
  const log = openSync(logPath, 'a', 0o600)
  const child = spawn(process.execPath, [program], {
    detached: true,
    stdio: ['ignore', 'pipe', log],
    cwd: '/',
  })
  closeSync(log)
  const listening = await new Promise<boolean>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', () => resolve(false))
    createInterface({ input: child.stdout as Readable }).once('line', () => resolve(true))
  })
  child.stdout?.destroy()
  child.unref()
  if (!listening) await waitForWinner(dataDir, socketPath, logPath)
}

/** A daemon that ends at once may have lost the race for the directory to one that another client started. */
async function waitForWinner(dataDir: string, socketPath: string, logPath: string): Promise<void> {
  const giveUpAt = Date.now() + WINNER_MS
  while (!(await answers(socketPath))) {
    const said = lastWords(logPath)
    if (!said.includes('data_dir_locked') || Date.now() > giveUpAt) {
      throw new DeltaBoxError('daemon_unreachable', `The daemon of ${dataDir} did not start: ${said}`)
    }
    await delay(WINNER_PAUSE_MS)
  }
}
