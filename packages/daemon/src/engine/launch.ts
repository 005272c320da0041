/** Starting and ending engine programs. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, readFile, readlink } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'

const READY_TIMEOUT_MS = 10_000
const EXIT_TIMEOUT_MS = 10_000
const EXIT_POLL_MS = 5

/** An engine of another daemon has these user ids. */
export class IdsTakenError extends Error {
  override readonly name = 'IdsTakenError'
}

/** The first ids of the ranges that engines of this host have, whichever daemon's they are: each holds a name (`claim_ids`). */
export async function claimedUids(): Promise<Set<number>> {
  const sockets = await readFile('/proc/net/unix', 'utf8')
  return new Set(Array.from(sockets.matchAll(/@deltabox-ids-(\d+)$/gm), ([, uid]) => Number(uid)))
}

export interface EngineProgram {
  readonly program: string
  readonly socketPath: string
  readonly uidBase: number
  readonly logPath: string
}

/** A process by its pid and when it started, in clock ticks since boot: a pid alone may have been given again. */
export interface EngineProcessId {
  readonly pid: number
  readonly startTicks: number
}

/**
 * Starts an engine in a session of its own, so that it outlives the daemon, and returns once it listens. An engine
 * whose `ready` nobody reads ends by itself: a daemon that dies in here leaves none behind.
 */
export async function launchEngine(spec: EngineProgram): Promise<void> {
  const log = await open(spec.logPath, 'a', 0o600)
  try {
    const child = spawn(
      spec.program,
      ['--socket', spec.socketPath, '--uid-base', String(spec.uidBase), '--log', spec.logPath],
      // The environment may hold the daemon's token.
      { detached: true, cwd: '/', env: { PATH: process.env.PATH }, stdio: ['ignore', 'pipe', log.fd] },
    )
    child.unref()
    const stdout = child.stdout as Readable
    try {
      await once(child, 'spawn')
      const said = await firstLine(stdout)
      if (said === 'taken\n')
        throw new IdsTakenError(`an engine of another daemon has the user ids from ${spec.uidBase} on`)
      if (said !== 'ready\n') throw new Error(`it said ${JSON.stringify(said)}`)
    } catch (cause) {
      child.kill('SIGKILL')
      if (cause instanceof IdsTakenError) throw cause
      throw new Error(`${spec.program}: ${await lastWords(spec.logPath, cause)}`, { cause })
    } finally {
      stdout.destroy()
    }
  } finally {
    await log.close()
  }
}

async function firstLine(stream: Readable): Promise<string> {
  const timer = setTimeout(
    () => stream.destroy(new Error('it does not say that it is ready')),
    READY_TIMEOUT_MS,
  )
  try {
    let said = ''
    for await (const piece of stream) {
      said += String(piece)
      if (said.endsWith('\n')) return said
    }
    throw new Error(said === '' ? 'it ended' : `it said ${JSON.stringify(said)}`)
  } finally {
    clearTimeout(timer)
  }
}

async function lastWords(logPath: string, cause: unknown): Promise<string> {
  const log = await readFile(logPath, 'utf8')
  return log.trimEnd().split('\n').at(-1) || (cause as Error).message
}

/** Undefined when there is no such process. */
export async function startTicks(pid: number): Promise<number | undefined> {
  let stat: string
  try {
    stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined
    throw error
  }
  // The command's name may hold spaces and parentheses: fields are counted from the last one.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return fields[0] === 'Z' ? undefined : Number(fields[19])
}

/** Whether that file, which may be removed by now, is where the process's diagnostics go. */
export async function isLoggingTo(pid: number, logPath: string): Promise<boolean> {
  const target = await readlink(`/proc/${pid}/fd/2`).catch(() => '')
  return target === logPath || target === `${logPath} (deleted)`
}

/** Kills what is left of an engine; with it goes everything it runs. */
export async function killEngine(engine: EngineProcessId): Promise<void> {
  if ((await startTicks(engine.pid)) !== engine.startTicks) return
  process.kill(engine.pid, 'SIGKILL')
  await engineEnded(engine)
}

/** False when the engine is still there after 10 seconds. */
export async function engineEnded(engine: EngineProcessId): Promise<boolean> {
  const deadline = Date.now() + EXIT_TIMEOUT_MS
  while ((await startTicks(engine.pid)) === engine.startTicks) {
    if (Date.now() > deadline) return false
    await delay(EXIT_POLL_MS)
  }
  return true
}
