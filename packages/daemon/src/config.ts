/** What the daemon was told, by environment and arguments, as one typed value. */
import { homedir, totalmem } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { DeltaBoxError } from '@deltabox/protocol'

export interface TcpAddress {
  readonly host: string
  readonly port: number
}

export interface Config {
  readonly command: 'serve' | 'doctor' | 'doctor-store'
  /** What `doctor-store` finds is repaired, where that can be. */
  readonly repair: boolean
  readonly dataDir: string
  /** Where daemons keep their sockets, one directory each. */
  readonly runBase: string
  readonly enginePath: string
  readonly listen: TcpAddress | undefined
  readonly token: string | undefined
  /** Keep an engine with a prepared cell ready for the next create. */
  readonly warm: boolean
  /** A chain of more layers is made shorter in the background. */
  readonly mergeDepth: number
  /** Of a process that has written so many bytes since its last checkpoint they are copied while it runs. */
  readonly copyAhead: number
  /** What engines keep of checkpoints in memory, beyond what live sandboxes stand on. */
  readonly poolBytes: number
  readonly poolCount: number
  /** Pages of processes are compressed on disk. */
  readonly compress: boolean
  /** Whether the disk is waited for before a checkpoint counts as durable. */
  readonly sync: boolean
  readonly logLevel: string
}

type Environment = Readonly<Record<string, string | undefined>>

interface Arguments {
  readonly listen: string | undefined
  readonly token: string | undefined
  readonly command: Config['command']
  readonly repair: boolean
}

/** Less is copied about as fast as a process is stopped and let go twice. */
const COPY_AHEAD_BYTES = '16777216'
/** Of what the machine has. */
const POOL_FRACTION = 4
const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']

export function readConfig(argv: readonly string[], env: Environment): Config {
  const { listen, token = env.DELTABOX_TOKEN || undefined, command, repair } = readArguments(argv)
  if (listen !== undefined && token === undefined) {
    throw invalid(`--listen ${listen} needs a token, or anybody could connect: set DELTABOX_TOKEN`)
  }
  return {
    command,
    repair,
    dataDir: absolute('DELTABOX_DATA', env.DELTABOX_DATA) ?? path.join(stateHome(env), 'deltabox'),
    runBase: absolute('DELTABOX_RUN', env.DELTABOX_RUN) ?? '/run/deltabox',
    enginePath: absolute('DELTABOX_ENGINE', env.DELTABOX_ENGINE) ?? builtEngine(),
    listen: listen === undefined ? undefined : parseListen(listen),
    token,
    mergeDepth: integer('DELTABOX_MERGE_DEPTH', env.DELTABOX_MERGE_DEPTH || '16', 2, 400),
    copyAhead: integer(
      'DELTABOX_COPY_AHEAD',
      env.DELTABOX_COPY_AHEAD || COPY_AHEAD_BYTES,
      0,
      Number.MAX_SAFE_INTEGER,
    ),
    poolBytes: integer(
      'DELTABOX_POOL_BYTES',
      env.DELTABOX_POOL_BYTES || String(Math.floor(totalmem() / POOL_FRACTION)),
      0,
      Number.MAX_SAFE_INTEGER,
    ),
    poolCount: integer('DELTABOX_POOL_COUNT', env.DELTABOX_POOL_COUNT || '1000', 0, 1_000_000),
    compress: oneOf('DELTABOX_COMPRESS', env.DELTABOX_COMPRESS || 'none', ['none', 'zstd']) === 'zstd',
    sync: oneOf('DELTABOX_SYNC', env.DELTABOX_SYNC || '1', ['0', '1']) === '1',
    warm: oneOf('DELTABOX_WARM', env.DELTABOX_WARM || '1', ['0', '1']) === '1',
    logLevel: oneOf('DELTABOX_LOG_LEVEL', env.DELTABOX_LOG_LEVEL || 'info', LOG_LEVELS),
  }
}

function readArguments(argv: readonly string[]): Arguments {
  const { values, positionals } = parse(argv)
  const [command = 'serve', ...rest] = positionals
  if (rest.length > 0 || (command !== 'serve' && command !== 'doctor')) {
    throw invalid(`unknown argument ${JSON.stringify(rest[0] ?? command)}; none or \`doctor\` is taken`)
  }
  const { listen, token, store = false, repair = false } = values
  if (store && command !== 'doctor') throw invalid('--store is for `doctor`')
  if (repair && !store) throw invalid('--repair is for `doctor --store`')
  return { listen, token, command: store ? 'doctor-store' : command, repair }
}

function parse(argv: readonly string[]): {
  values: { listen?: string; token?: string; store?: boolean; repair?: boolean }
  positionals: string[]
} {
  try {
    return parseArgs({
      args: [...argv],
      options: {
        listen: { type: 'string' },
        token: { type: 'string' },
        store: { type: 'boolean' },
        repair: { type: 'boolean' },
      },
      allowPositionals: true,
    })
  } catch (cause) {
    throw invalid((cause as Error).message, cause)
  }
}

function parseListen(text: string): TcpAddress {
  const url = URL.canParse(text) ? new URL(text) : undefined
  // The URL parser drops the scheme's own port.
  const port = url?.port || (/:80\/?$/.test(text) ? '80' : '')
  if (url?.protocol !== 'http:' || url.pathname !== '/' || port === '') {
    throw invalid(`--listen takes http://HOST:PORT, not ${JSON.stringify(text)}`)
  }
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(port) }
}

function stateHome(env: Environment): string {
  return absolute('XDG_STATE_HOME', env.XDG_STATE_HOME) ?? path.join(env.HOME || homedir(), '.local/state')
}

function builtEngine(): string {
  return fileURLToPath(new URL('../../../native/build/deltabox-engine', import.meta.url))
}

function absolute(name: string, value: string | undefined): string | undefined {
  if (!value) return undefined
  if (!path.isAbsolute(value)) throw invalid(`${name} must be an absolute path, not ${JSON.stringify(value)}`)
  return path.normalize(value)
}

function integer(name: string, value: string, least: number, most: number): number {
  const number = Number(value)
  if (!/^\d+$/.test(value) || number < least || number > most) {
    throw invalid(`${name} must be a number from ${least} to ${most}, not ${JSON.stringify(value)}`)
  }
  return number
}

function oneOf(name: string, value: string, allowed: readonly string[]): string {
  if (!allowed.includes(value)) {
    throw invalid(`${name} must be one of ${allowed.join(', ')}, not ${JSON.stringify(value)}`)
  }
  return value
}

function invalid(message: string, cause?: unknown): DeltaBoxError {
  return new DeltaBoxError('invalid_request', message, { cause })
}
