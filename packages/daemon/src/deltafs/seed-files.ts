/** The files of /etc that name the machine, its network and its users, and how packages are fetched. */
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import path from 'node:path'
import type { SeedFile } from '../engine/messages.js'
import { withoutCredentials } from './npmrc.js'
import type { SeedRequest } from './seed.js'
import { lockedGshadow, lockedShadow } from './user-list.js'

type Request = Pick<SeedRequest, 'base' | 'hostname' | 'net'>

export async function seedFiles(request: Request): Promise<SeedFile[]> {
  const [names, users, packages] = await Promise.all([
    networkFiles(request),
    request.base === '/' ? userFiles() : [],
    request.net === 'host' ? packageFiles() : [],
  ])
  return [...names, ...users, ...packages].map(({ path: at, mode, text }) => ({
    path: at,
    mode,
    content: Buffer.from(text),
  }))
}

interface TextFile {
  readonly path: string
  readonly mode: number
  readonly text: string
}

/** With the host's network go the host's ways to find names; a sandbox of its own network has only itself. */
async function networkFiles({ hostname, net }: Request): Promise<TextFile[]> {
  const onHost = net === 'host'
  const localhost = '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n'
  const hosts = onHost ? await readIfThere('/etc/hosts') : localhost
  return [
    { path: '/etc/hostname', mode: 0o644, text: `${hostname}\n` },
    { path: '/etc/hosts', mode: 0o644, text: `${withNewline(hosts)}127.0.1.1\t${hostname}\n` },
    { path: '/etc/resolv.conf', mode: 0o644, text: onHost ? await readIfThere('/etc/resolv.conf') : '' },
  ]
}

async function userFiles(): Promise<TextFile[]> {
  const [passwd, group] = await Promise.all([readIfThere('/etc/passwd'), readIfThere('/etc/group')])
  return [
    { path: '/etc/shadow', mode: 0o640, text: lockedShadow(passwd) },
    { path: '/etc/gshadow', mode: 0o640, text: lockedGshadow(group) },
  ]
}

/**
 * On the host's network, installing packages works as it does on the host: npm learns from which registry and through
 * which proxy. The file is the host root's own, so what it says of credentials stays out.
 */
async function packageFiles(): Promise<TextFile[]> {
  const settings = await Promise.all(['/etc/npmrc', path.join(homedir(), '.npmrc')].map(readIfThere))
  const text = settings.map((file) => withoutCredentials(withNewline(file))).join('')
  return text === '' ? [] : [{ path: '/root/.npmrc', mode: 0o600, text }]
}

function withNewline(text: string): string {
  return text === '' || text.endsWith('\n') ? text : `${text}\n`
}

async function readIfThere(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw error
  }
}
