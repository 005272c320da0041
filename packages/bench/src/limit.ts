/** What no sandbox can be faster than, measured on the host. */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { Worker } from './inside/worker.js'
import { compiled, program } from './programs.js'

/** A process of the host. */
interface Outsider {
  readonly worker: Worker
  end(): Promise<void>
}

/** In milliseconds. */
export interface Limit {
  overlayMount(layers: number): Promise<number>
  namespaces(): Promise<number>
  memcpy(bytes: number): Promise<number>
}

export interface Host {
  readonly limit: Limit
  /** The worker that sandboxes have, which tells what a bare fork costs it. */
  twin(megabytes: number): Promise<Outsider>
}

export type LimitName = 'fork' | 'overlay-mount' | 'namespaces' | 'memcpy'

/** What of each is in a sample. */
export const limitTimers: Readonly<Record<LimitName, string>> = {
  fork: 'fork() of a process like it on the host until its child, which ends at once, is waited for',
  'overlay-mount': 'fsopen to fsmount of an overlay with so many lower directories; its end is not in it',
  namespaces:
    'clone of a process into user, pid, mount, net, ipc and uts namespaces of its own; its end is not in it',
  memcpy: 'memcpy() of so many bytes in one process, between pages that are there',
}

/** Nothing of it is left. */
export async function withHost(run: (host: Host) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(path.join(tmpdir(), 'dbb-host-'))
  const started: Outsider[] = []
  const start = async (command: string, ...args: string[]): Promise<Outsider> => {
    const outsider = await begin(spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] }))
    started.push(outsider)
    await outsider.worker.next()
    return outsider
  }
  try {
    const library = compiled('fork.c', directory, '-shared', '-fPIC')
    const overlays = path.join(directory, 'overlays')
    mkdirSync(overlays)
    const limit = compiled('limit.c', directory)
    // One for each, as it ends where the kernel refuses something.
    const overlay = await start(limit, overlays)
    const namespaces = await start(limit, overlays)
    const memcpy = await start(limit, overlays)
    await run({
      limit: {
        overlayMount: (layers) => overlay.worker.ask(`overlay ${layers}`),
        namespaces: () => namespaces.worker.ask('namespaces'),
        memcpy: (bytes) => memcpy.worker.ask(`memcpy ${bytes}`),
      },
      twin: (megabytes) => start('python3', program('worker.py'), '/', String(megabytes), library),
    })
  } finally {
    for (const outsider of started) await outsider.end()
    rmSync(directory, { recursive: true, force: true })
  }
}

async function begin(child: ChildProcessByStdio<Writable, Readable, null>): Promise<Outsider> {
  await once(child, 'spawn')
  const exited = once(child, 'exit')
  const { stdin, stdout } = child
  // Where it has ended, the end of what it says tells so.
  stdin.on('error', () => {})
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]()
  const worker = new Worker(async (line) => void stdin.write(line), lines)
  const end = async (): Promise<void> => {
    child.kill()
    await exited
  }
  return { worker, end }
}
