/** What an engine's error means to the user who asked. */
import os from 'node:os'
import { DeltaBoxError, type ErrorCode } from '@deltabox/protocol'
import { EngineError, EngineLostError } from '../engine/client.js'
import type { EngineObstacle, OperationName } from '../engine/messages.js'
import { FrameTooLargeError } from '../engine/wire.js'

/** Of two names for one number the first stands: ENOTSUP for EOPNOTSUPP. */
const ERRNO_NAMES = new Map(
  Object.entries(os.constants.errno)
    .reverse()
    .map(([name, number]) => [number as number, name]),
)

type ByErrno = Readonly<Record<string, ErrorCode>>

const CODES: Readonly<Record<string, ErrorCode>> = {
  bad_request: 'invalid_request',
  no_such_sandbox: 'sandbox_dead',
  sandbox_dead: 'sandbox_dead',
  // The daemon knows which processes there were: one the engine does not know has ended.
  no_such_process: 'process_ended',
  stdin_closed: 'stdin_closed',
  limits_unavailable: 'limits_unavailable',
  // A rollback that an earlier daemon asked for is still under way.
  busy: 'sandbox_busy',
  refused: 'checkpoint_refused',
  unsettled: 'checkpoint_refused',
  damaged: 'image_damaged',
}

/** Of operations that undo what they did when a step fails. */
const UNDONE: Partial<Record<OperationName, ErrorCode>> = {
  'sandbox.checkpoint': 'checkpoint_failed',
  'sandbox.rollback': 'rollback_failed',
  'image.load': 'rollback_failed',
}

const FILE_ERRNOS: ByErrno = {
  ENOENT: 'file_not_found',
  EEXIST: 'file_exists',
  EISDIR: 'is_directory',
  ENOTDIR: 'not_directory',
  ENOTEMPTY: 'directory_not_empty',
  // Files of /proc and /sys, pipes and sockets without a peer.
  ENODEV: 'not_a_file',
  ENXIO: 'not_a_file',
  EACCES: 'permission_denied',
  EPERM: 'permission_denied',
  EROFS: 'permission_denied',
  EBUSY: 'permission_denied',
  ETXTBSY: 'permission_denied',
  ENAMETOOLONG: 'invalid_request',
  ELOOP: 'invalid_request',
  EINVAL: 'invalid_request',
  EXDEV: 'invalid_request',
  ESRCH: 'sandbox_dead',
}

const DISK_ERRNOS: ByErrno = { ENOSPC: 'disk_full', EDQUOT: 'disk_full' }

const EXEC_ERRNOS: Readonly<Record<string, ByErrno>> = {
  chdir: { ENOENT: 'cwd_not_found', ENOTDIR: 'cwd_not_found', EACCES: 'permission_denied' },
  user: { ENOENT: 'user_not_found' },
  exec: {
    ENOENT: 'command_not_found',
    ENOTDIR: 'command_not_found',
    EACCES: 'command_not_executable',
    EPERM: 'command_not_executable',
    ENOEXEC: 'command_not_executable',
    EINVAL: 'command_not_executable',
    EISDIR: 'command_not_executable',
    ETXTBSY: 'command_not_executable',
    E2BIG: 'invalid_request',
  },
}

/** Steps of base.open that fail with these where a file system takes no idmapped mounts or is no overlay's layer. */
const UNSHIFTABLE_STEPS = new Set(['shift ids', 'mount base'])
const UNSHIFTABLE_ERRNOS = new Set(['EINVAL', 'ENOTSUP', 'EPERM'])

/** `doing` completes "cannot …": what was asked, and on what. */
export function explain(error: unknown, operation: OperationName, doing: string): unknown {
  if (error instanceof EngineLostError) {
    return new DeltaBoxError('engine_lost', `cannot ${doing}: ${error.message}`, { cause: error })
  }
  if (error instanceof FrameTooLargeError) {
    return new DeltaBoxError('invalid_request', `cannot ${doing}: ${error.message}`, { cause: error })
  }
  if (!(error instanceof EngineError)) return error
  const code = codeOf(error, operation)
  return new DeltaBoxError(code, `cannot ${doing}: ${reasonOf(error, code)}`, {
    cause: error,
    details: { ...detailsOf(error) },
  })
}

function codeOf(error: EngineError, operation: OperationName): ErrorCode {
  const errno = errnoName(error)
  return (
    CODES[error.code] ??
    DISK_ERRNOS[errno] ??
    (error.code === 'exec_failed' ? EXEC_ERRNOS[error.step]?.[errno] : undefined) ??
    (operation.startsWith('file.') ? FILE_ERRNOS[errno] : undefined) ??
    (operation === 'base.open' ? baseCode(error.step, errno) : undefined) ??
    UNDONE[operation] ??
    'engine_failed'
  )
}

function baseCode(step: string, errno: string): ErrorCode | undefined {
  return UNSHIFTABLE_STEPS.has(step) && UNSHIFTABLE_ERRNOS.has(errno) ? 'base_unsupported' : undefined
}

const NAMES_STEP: ReadonlySet<ErrorCode> = new Set([
  'engine_failed',
  'base_unsupported',
  'checkpoint_failed',
  'rollback_failed',
])

/** Where the code alone does not say what went wrong, the step does. */
function reasonOf(error: EngineError, code: ErrorCode): string {
  if (error.obstacles.length > 0) return obstaclesIn(error)
  if (error.errno === 0) return error.message
  const prefix = `${error.step}: `
  const reason = error.message.startsWith(prefix) ? error.message.slice(prefix.length) : error.message
  if (!NAMES_STEP.has(code)) return reason
  return `${error.step}${error.object ? ` (${error.object})` : ''}: ${reason}`
}

function detailsOf(error: EngineError): Record<string, unknown> {
  if (error.obstacles.length > 0) {
    const passing = error.code === 'unsettled'
    return { objects: error.obstacles.map(obstacleOf), more: error.moreObstacles, passing }
  }
  if (error.errno === 0) return {}
  return { errno: errnoName(error), step: error.step, object: error.object }
}

function errnoName(error: EngineError): string {
  return ERRNO_NAMES.get(error.errno) ?? ''
}

interface Obstacle {
  readonly pid: number
  readonly command: string
  readonly object: string
  readonly reason: string
}

function obstacleOf({ pid, command, object, reason }: EngineObstacle): Obstacle {
  const text = (bytes: Uint8Array | string): string =>
    typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString('utf8')
  return { pid, command: text(command), object: text(object), reason: text(reason) }
}

/** What the engine says where the obstacle is nothing that the process has. */
const PROCESS_ITSELF = 'the process itself'

/** How many a message names; all are in its details. */
const NAMED_MAX = 10

function obstaclesIn({ obstacles, moreObstacles }: EngineError): string {
  const named = obstacles.slice(0, NAMED_MAX).map(obstacleText)
  const more = obstacles.length - named.length + moreObstacles
  return named.join('; ') + (more === 0 ? '' : `; and ${more} more`)
}

function obstacleText(told: EngineObstacle): string {
  const { pid, command, object, reason } = obstacleOf(told)
  const what = object === PROCESS_ITSELF ? '' : object
  const who = pid === 0 ? '' : `process ${pid} (${command})`
  return `${[who, what].filter((part) => part !== '').join(', ')}: ${reason}`.replace(/\p{Cc}/gu, '?')
}
