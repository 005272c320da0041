import { createHash } from 'node:crypto'
import { realpathSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
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

export function dataDirOf(env: NodeJS.ProcessEnv): string {
  return resolve(
    env.DELTABOX_DATA ?? join(env.XDG_STATE_HOME ?? join(homedir(), '.local', 'state'), 'deltabox'),
  )
}

/** The socket of the daemon that owns a data directory: the name is short because unix socket paths are. */
export function socketOf(dataDir: string, env: NodeJS.ProcessEnv): string {
  let real = dataDir
  try {
    real = realpathSync(dataDir)
  } catch {
    // not made yet: then no daemon listens, and the path is only named in the error
  }
  const hash = createHash('sha256').update(real).digest('hex').slice(0, 12)
  return join(env.DELTABOX_RUN ?? '/run/deltabox', hash, 'daemon.sock')
}
