import { createHash } from 'node:crypto'
import { realpathSync } from 'node:fs'
import { homedir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { DeltaBoxError } from '@deltabox/protocol/errors'

/** Where a daemon listens. */
export type Address =
  | { readonly kind: 'unix'; readonly socketPath: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }

export function parseUrl(url: string): Address {
  const unix = /^unix:(?:\/\/)?(\/[^/].*)$/.exec(url)
  if (unix?.[1]) return { kind: 'unix', socketPath: unix[1] }
  const parsed = URL.canParse(url) ? new URL(url) : null
  if (parsed?.protocol !== 'http:') {
    throw new DeltaBoxError(
      'invalid_request',
      `A daemon's address is unix:///PATH or http://HOST:PORT, not ${JSON.stringify(url)}`,
    )
  }
  return { kind: 'tcp', host: parsed.hostname.replace(/^\[|\]$/g, ''), port: Number(parsed.port || 80) }
}

/** As the daemon reads them: a variable that is set to nothing counts as not set. */
export function dataDirOf(env: NodeJS.ProcessEnv): string {
  return resolve(
    env.DELTABOX_DATA ||
      join(env.XDG_STATE_HOME || join(env.HOME || homedir(), '.local', 'state'), 'deltabox'),
  )
}

/** Where the volume that is mounted at a directory keeps its content (`deltabox volume create`). */
export function volumeImageOf(directory: string): string {
  return `${directory}.img`
}

/** The socket of the daemon that owns a data directory: the name is short because unix socket paths are. */
export function socketOf(dataDir: string, env: NodeJS.ProcessEnv): string {
  const hash = createHash('sha256').update(realPathOf(dataDir)).digest('hex').slice(0, 12)
  return join(env.DELTABOX_RUN || '/run/deltabox', hash, 'daemon.sock')
}

/** Also of a directory that is yet to be made: links above it count. */
function realPathOf(path: string): string {
  try {
    return realpathSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || dirname(path) === path) throw error
    return join(realPathOf(dirname(path)), basename(path))
  }
}
