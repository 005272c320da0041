import { constants } from 'node:os'
import type { CommandHandle } from 'deltabox'
import { signals } from './signals.js'

/** Leaves the alternate screen, shows the cursor, plain colours, no bracketed paste, no mouse. */
const SOFT_RESET = '\x1b[?1049l\x1b[?25h\x1b[0m\x1b[?2004l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l'

export interface Terminal {
  /** Resolves with the status to exit with when a signal tells us to go, as when a window is closed. */
  readonly hungUp: Promise<number>
  release(): void
}

export function terminalSize(): { cols: number; rows: number } {
  return { cols: process.stdout.columns || 80, rows: process.stdout.rows || 24 }
}

/**
 * The terminal passes every key on, if the command reads any; it is put back on every way out. A signal to us hangs the
 * command up: its shell would ignore most others, and we are to end.
 */
export function takeTerminal(handle: CommandHandle, reads: boolean): Terminal {
  const raw = reads && process.stdin.isTTY
  const resize = (): void => {
    handle.resize(terminalSize()).catch(() => {}) // it has ended
  }
  const restore = (): void => {
    if (raw) process.stdin.setRawMode(false)
  }
  if (raw) process.stdin.setRawMode(true)
  process.stdout.on('resize', resize)
  process.once('exit', restore)
  let releaseSignals = (): void => {}
  const hungUp = new Promise<number>((resolve, reject) => {
    releaseSignals = signals.handle((signal) => {
      // Without raw mode the terminal turns Ctrl-C into this; it is the command's.
      const interrupt = signal === 'SIGINT'
      handle.kill(interrupt ? signal : 'SIGHUP').then(() => {
        if (interrupt) return
        if (process.stdout.isTTY) process.stdout.write(SOFT_RESET)
        resolve(128 + constants.signals[signal])
      }, reject)
    })
  })
  return {
    hungUp,
    release: () => {
      restore()
      releaseSignals()
      process.stdout.off('resize', resize)
      process.off('exit', restore)
    },
  }
}
