import { execFile } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import type { CheckStore, DoctorReport, ErrorBody, StoreReport } from '@deltabox/protocol'
import { DeltaBoxError } from '@deltabox/protocol/errors'
import { Client } from './client.js'
import { daemonProgram } from './start-daemon.js'
import { errorFromBody } from './transport.js'

/** A daemon that starts or stops has the data directory while it does not answer. */
const LOCKED_MS = 20_000
const LOCKED_PAUSE_MS = 100
const REPORT_MAX_BYTES = 256 * 1024 * 1024

export interface CheckStoreOptions extends CheckStore {
  /** Default: that of this user's data directory. */
  readonly client?: Client
}

/** Checks this machine; needs no running daemon. */
export function doctor(): Promise<DoctorReport> {
  return runDaemonProgram<DoctorReport>(['doctor'])
}

/**
 * Reads everything that checkpoints need and, with `repair`, puts right what can be. The daemon does that where one runs;
 * where none does it is done without, and none is started.
 */
export async function checkStore({
  repair = false,
  client = Client.default(),
}: CheckStoreOptions = {}): Promise<StoreReport> {
  const giveUpAt = Date.now() + LOCKED_MS
  while (!(await client.infoIfRunning())) {
    try {
      return await runDaemonProgram<StoreReport>(['doctor', '--store', ...(repair ? ['--repair'] : [])])
    } catch (error) {
      if ((error as DeltaBoxError).code !== 'data_dir_locked' || Date.now() > giveUpAt) throw error
    }
    await delay(LOCKED_PAUSE_MS)
  }
  return await client.json<StoreReport>({ method: 'POST', path: '/v1/doctor/store', json: { repair } })
}

function runDaemonProgram<T>(args: readonly string[]): Promise<T> {
  const program = daemonProgram()
  return new Promise((resolve, reject) => {
    execFile(
      process.execPath,
      [program, ...args],
      { maxBuffer: REPORT_MAX_BYTES },
      (error, stdout, stderr) => {
        try {
          resolve(JSON.parse(stdout) as T)
        } catch {
          reject(faultOf(stderr, error))
        }
      },
    )
  })
}

/** The last line tells why it ended. */
function faultOf(stderr: string, cause: unknown): DeltaBoxError {
  try {
    return errorFromBody(JSON.parse(stderr.trimEnd().split('\n').at(-1) ?? '') as ErrorBody)
  } catch {
    return new DeltaBoxError('internal', `The checks could not be run: ${stderr.trim()}`, { cause })
  }
}
