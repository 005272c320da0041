/** Nothing is left behind, and nothing is lost on the way. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
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

function ourProcesses(): number {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('deltabox')
    } catch {
      return false // it ended while we looked
    }
  }).length
}

function cgroups(): string[] {
  return readdirSync('/sys/fs/cgroup', { withFileTypes: true })
    .flatMap((entry) => [`/sys/fs/cgroup/${entry.name}/deltabox`, '/sys/fs/cgroup/deltabox'])
    .flatMap((path) => {
      try {
        return readdirSync(path, { withFileTypes: true })
          .filter((entry) => entry.isDirectory())
          .map((entry) => `${path}/${entry.name}`)
      } catch {
        return []
      }
    })
    .sort()
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
    const before = { rest: await settled(), mounts: mounts(), cgroups: cgroups() }
    for (let round = 0; round < 100; round++) {
      const box = await Sandbox.create({ client })
      expect((await box.commands.run('echo $((6 * 7)) > /root/a; cat /root/a')).stdout).toBe('42\n')
      if (round % 10 === 0) await box.commands.startDetached('sleep 1000 & sleep 1000')
      await box.kill()
    }
    expect({ rest: await settled(), mounts: mounts(), cgroups: cgroups() }).toEqual(before)
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
