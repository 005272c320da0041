/** Commands started through the API. */
import os from 'node:os'
import {
  DeltaBoxError,
  type ProcessInfo,
  type ProcessList,
  type StartCommand,
  type TtySize,
} from '@deltabox/protocol'
import type { StartParameters } from '../engine/messages.js'
import { clientLeft } from './client-grace.js'
import { homeOf } from './home.js'
import { newProcessId } from './ids.js'
import { recordExit } from './process-end.js'
import type { ProcessRow } from './process-table.js'
import type { SandboxRow } from './sandbox-table.js'
import { ask, findSandbox, labelOf } from './sandboxes.js'
import type { State } from './state.js'
import { armTimeLimit } from './time-limit.js'

const DEFAULT_ENV = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/root',
  LANG: 'C.UTF-8',
} as const
const TTY_ENV = { TERM: 'xterm-256color' } as const

export async function startProcess(
  state: State,
  reference: string,
  request: StartCommand,
): Promise<ProcessInfo> {
  const sandbox = findSandbox(state, reference)
  const row = recordStart(state, sandbox, request)
  const running = state.running.add(sandbox.id, row.id, row.waitsForReader)
  try {
    const parameters = await parametersOf(state, sandbox, row, request)
    const { pid } = await ask(state, sandbox, doing(sandbox, row, 'run'), 'process.start', parameters)
    state.store.processes.setPid(sandbox.id, row.id, pid)
  } catch (error) {
    state.store.processes.remove(sandbox.id, row.id)
    state.running.end(sandbox.id, row.id)
    throw error
  }
  running.started = true
  state.metrics.processesStarted.inc()
  state.log.debug({ sandbox: sandbox.id, process: row.id, command: row.command }, 'process started')
  state.events.emit({ type: 'process.started', sandbox: sandbox.id, process: row.id })
  if (running.exitBeforeStart) {
    recordExit(state, running.exitBeforeStart)
  } else if (!running.ended) {
    armTimeLimit(state, row)
    clientLeft(state, row)
  }
  return getProcess(state, sandbox.id, row.id)
}

/** Recorded first, so that no daemon ever meets a process it knows nothing of. */
function recordStart(state: State, sandbox: SandboxRow, request: StartCommand): NewProcess {
  const startedAt = Date.now()
  const row: NewProcess = {
    sandbox: sandbox.id,
    id: newProcessId(),
    command: typeof request.command === 'string' ? ['/bin/sh', '-c', request.command] : request.command,
    tty: request.tty !== undefined,
    waitsForReader: request.detached !== true,
    deadline: request.timeoutMs === undefined ? null : startedAt + request.timeoutMs,
    startedAt,
  }
  state.store.processes.insert(row)
  return row
}

type NewProcess = Pick<
  ProcessRow,
  'sandbox' | 'id' | 'command' | 'tty' | 'waitsForReader' | 'deadline' | 'startedAt'
>

async function parametersOf(
  state: State,
  sandbox: SandboxRow,
  row: NewProcess,
  request: StartCommand,
): Promise<StartParameters> {
  const given = { ...sandbox.env, ...request.env }
  const home = request.user === undefined || 'HOME' in given ? {} : await homeOf(state, sandbox, request.user)
  const env = { ...DEFAULT_ENV, ...home, ...(row.tty ? TTY_ENV : {}), ...given }
  return {
    sandbox: sandbox.id,
    process: row.id,
    argv: row.command,
    env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
    cwd: insidePath(sandbox, request.cwd ?? ''),
    ...(request.user === undefined ? {} : { user: request.user }),
    ...(request.tty === undefined ? {} : { tty: request.tty }),
    stdin: request.stdin === true,
    hold: row.waitsForReader,
  }
}

/** Joined, not normalised: what `..` leads to depends on links inside. */
export function insidePath(sandbox: SandboxRow, path: string): string {
  if (path.startsWith('/')) return path
  return path === '' ? sandbox.cwd : `${sandbox.cwd === '/' ? '' : sandbox.cwd}/${path}`
}

export function listProcesses(state: State, reference: string): ProcessList {
  const sandbox = findSandbox(state, reference)
  const rows = state.store.processes.ofSandbox(sandbox.id)
  return { processes: rows.filter((row) => row.pid !== null).map(infoOf) }
}

export function getProcess(state: State, reference: string, process: string): ProcessInfo {
  return infoOf(findProcess(state, findSandbox(state, reference), process))
}

export function findProcess(state: State, sandbox: SandboxRow, process: string): ProcessRow {
  const row = state.store.processes.get(sandbox.id, process)
  if (row && row.pid !== null) return row
  throw new DeltaBoxError(
    'process_not_found',
    `sandbox ${labelOf(sandbox)} has no process ${JSON.stringify(process)}`,
    { details: { sandbox: sandbox.id, process } },
  )
}

/** To its whole process group: what a shell started ends with the shell. */
export async function signalProcess(
  state: State,
  reference: string,
  process: string,
  signal: string,
): Promise<void> {
  const number = (os.constants.signals as Record<string, number>)[signal]
  if (number === undefined) {
    throw new DeltaBoxError('invalid_request', `there is no signal ${JSON.stringify(signal)}`)
  }
  const sandbox = findSandbox(state, reference)
  const row = findRunning(state, sandbox, process, 'signal')
  await ask(state, sandbox, doing(sandbox, row, 'signal'), 'process.signal', {
    sandbox: sandbox.id,
    process: row.id,
    signal: number,
    group: true,
  })
}

export async function resizeProcess(
  state: State,
  reference: string,
  process: string,
  size: TtySize,
): Promise<void> {
  const sandbox = findSandbox(state, reference)
  const row = findRunning(state, sandbox, process, 'resize')
  if (!row.tty) {
    throw new DeltaBoxError('invalid_request', `cannot ${doing(sandbox, row, 'resize')}: it has no terminal`)
  }
  const { cols, rows } = size
  await ask(state, sandbox, doing(sandbox, row, 'resize'), 'process.resize', {
    sandbox: sandbox.id,
    process: row.id,
    cols,
    rows,
  })
}

function findRunning(state: State, sandbox: SandboxRow, process: string, verb: string): ProcessRow {
  const row = findProcess(state, sandbox, process)
  if (row.state === 'running') return row
  throw new DeltaBoxError('process_ended', `cannot ${doing(sandbox, row, verb)}: it has ended`, {
    details: { sandbox: sandbox.id, process: row.id },
  })
}

export function doing(sandbox: SandboxRow, row: Pick<ProcessRow, 'id' | 'command'>, verb: string): string {
  const what = verb === 'run' ? JSON.stringify(row.command[0]) : `process ${row.id}`
  return `${verb} ${what} in sandbox ${labelOf(sandbox)}`
}

export function infoOf(row: ProcessRow): ProcessInfo {
  return {
    process: row.id,
    pid: row.pid ?? 0,
    command: [...row.command],
    state: row.state,
    tty: row.tty,
    exitCode: row.exitCode,
    signal: row.signal,
    timedOut: row.timedOut,
    oomKilled: row.oomKilled,
    diskKilled: row.diskKilled,
    startedAt: new Date(row.startedAt).toISOString(),
    endedAt: row.endedAt === null ? null : new Date(row.endedAt).toISOString(),
  }
}
