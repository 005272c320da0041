/** Nothing is left behind, and nothing is lost on the way. */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { Client, Sandbox } from 'deltabox'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TestDaemon } from './support/daemon.js'

let daemon: TestDaemon
let client: Client

beforeAll(async () => {
  daemon = await TestDaemon.start()
  client = new Client({ url: daemon.url })
})
afterAll(() => daemon.clean())

/** What /proc tells of a process; empty when it ended while we looked. */
function told(pid: string, look: (path: string) => string): string {
  try {
    return look(`/proc/${pid}`)
  } catch {
    return ''
  }
}

/** This daemon's engines, which log into its data directory, and their children: inits and commands. */
function ourProcesses(): number {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  const engines = pids.filter((pid) =>
    told(pid, (path) => readlinkSync(`${path}/fd/2`)).startsWith(daemon.dataDir),
  )
  const children = pids.filter((pid) => {
    const parent = /^PPid:\t(\d+)/m.exec(told(pid, (path) => readFileSync(`${path}/status`, 'utf8')))?.[1]
    return engines.includes(parent ?? '')
  })
  return engines.length + children.length
}

/** Cgroups of these sandboxes, and processes anywhere in them. */
function leftOf(ids: readonly string[]): string[] {
  const hierarchies = readdirSync('/sys/fs/cgroup').map((name) => `/sys/fs/cgroup/${name}/deltabox`)
  const cgroups = ['/sys/fs/cgroup/deltabox', ...hierarchies].flatMap((parent) =>
    ids.map((id) => `${parent}/${id}`),
  )
  const members = readdirSync('/proc').filter((name) => {
    const cgroup = /^\d+$/.test(name) ? told(name, (path) => readFileSync(`${path}/cgroup`, 'utf8')) : ''
    return ids.some((id) => cgroup.includes(`/deltabox/${id}`))
  })
  return [...cgroups.filter((path) => existsSync(path)), ...members]
}

const descriptors = (): number => readdirSync(`/proc/${daemon.pid}/fd`).length
const mounts = (): string => readFileSync('/proc/self/mountinfo', 'utf8')

async function settled(): Promise<unknown> {
  // the spare engine is made in the background; when it is there again, everything is at rest
  for (;;) {
    const state = { processes: ourProcesses(), descriptors: descriptors(), engines: daemon.engines().length }
    await new Promise((resolve) => setTimeout(resolve, 200))
    const after = { processes: ourProcesses(), descriptors: descriptors(), engines: daemon.engines().length }
    if (JSON.stringify(state) === JSON.stringify(after)) return after
  }
}

describe('100 sandboxes made, used and removed', () => {
  it('leave no process, mount, cgroup, descriptor or directory', async () => {
    await (await Sandbox.create({ client })).kill()
    const before = { rest: await settled(), mounts: mounts() }
    const ids: string[] = []
    for (let round = 0; round < 100; round++) {
      const box = await Sandbox.create({ client })
      ids.push(box.id)
      expect((await box.commands.run('echo $((6 * 7)) > /root/a; cat /root/a')).stdout).toBe('42\n')
      if (round % 10 === 0) await box.commands.startDetached('sleep 1000 & sleep 1000')
      await box.kill()
    }
    expect({ rest: await settled(), mounts: mounts() }).toEqual(before)
    expect(leftOf(ids)).toEqual([])
  })
})

describe('20 sandboxes at once, each printing 50 MB', () => {
  it('lose no byte, and the daemon’s memory stays bounded', async () => {
    const rss = (): number =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${daemon.pid}/status`, 'utf8'))?.[1]) / 1024
    const script = `
import hashlib, sys
state, digest = b'seed', hashlib.sha256()
block = b''.join(hashlib.sha256(state + bytes([i % 251, i // 251])).digest() for i in range(2048))
for i in range(50_000_000 // len(block) + 1):
    piece = block if i < 50_000_000 // len(block) else block[: 50_000_000 % len(block)]
    piece = bytes([i % 251]) + piece[1:] if piece else piece
    digest.update(piece)
    sys.stdout.buffer.write(piece)
sys.stderr.write(digest.hexdigest())
`
    let peak = rss()
    const watch = setInterval(() => {
      peak = Math.max(peak, rss())
    }, 50)
    const boxes = await Promise.all(Array.from({ length: 20 }, () => Sandbox.create({ client })))
    const results = await Promise.all(
      boxes.map(async (box) => {
        const handle = await box.commands.start(['/usr/bin/python3', '-c', script])
        const hash = createHash('sha256')
        let bytes = 0
        let said = ''
        handle.stdout.on('data', (chunk: Buffer) => {
          bytes += chunk.length
          hash.update(chunk)
        })
        handle.stderr.on('data', (chunk: Buffer) => {
          said += chunk
        })
        const status = await handle.wait()
        return { exitCode: status.exitCode, bytes, same: hash.digest('hex') === said }
      }),
    )
    clearInterval(watch)
    for (const result of results) expect(result).toEqual({ exitCode: 0, bytes: 50_000_000, same: true })
    expect(peak).toBeLessThan(300)
    await Promise.all(boxes.map((box) => box.kill()))
  })
})
