import { execFile } from 'node:child_process'
import type { DoctorReport } from '@deltabox/protocol'
import { DeltaBoxError } from '@deltabox/protocol/errors'
import { daemonProgram } from './start-daemon.js'

/** Checks this machine; needs no running daemon. */
export function doctor(): Promise<DoctorReport> {
  const program = daemonProgram()
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [program, 'doctor'], (error, stdout, stderr) => {
      try {
        resolve(JSON.parse(stdout) as DoctorReport)
      } catch {
        reject(
          new DeltaBoxError('internal', `The checks could not be run: ${stderr.trim()}`, { cause: error }),
        )
      }
    })
  })
}
