/** What a handle does with output that nobody reads, reads late, or reads while the daemon goes away. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { PassThrough } from 'node:stream'
import { Client, type CommandHandle, Sandbox } from 'deltabox'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TestDaemon } from './support/daemon.js'

let daemon: TestDaemon
let client: Client
let box: Sandbox

beforeAll(async () => {
  daemon = await TestDaemon.start()
  client = new Client({ url: daemon.url })
  box = await Sandbox.create({ client })
})
afterAll(() => daemon.clean())

async function bytesOf(stream: AsyncIterable<Buffer>): Promise<number> {
  let bytes = 0
  for await (const chunk of stream) bytes += chunk.length
  return bytes
}

describe('output', () => {
  it('that nobody asks for holds nothing up', async () => {
    const handle = await box.commands.start('head -c 10000000 /dev/zero; head -c 10000000 /dev/zero >&2')
    expect(await handle.wait()).toMatchObject({ exitCode: 0 })
  })

  it('of one stream does not wait for the other', async () => {
    const handle = await box.commands.start('head -c 6000000 /dev/zero >&2; echo hi')
    expect(await bytesOf(handle.stdout)).toBe(3)
  })

  it('may be asked for after the end, and tells how much is gone', async () => {
    const handle = await box.commands.start('head -c 100000 /dev/zero; head -c 9000000 /dev/zero >&2')
    await handle.wait()
    expect(await bytesOf(handle.stdout)).toBe(100_000)
    const kept = await bytesOf(handle.stderr)
    expect(kept).toBeGreaterThan(0)
    expect(kept + handle.dropped.stderr).toBe(9_000_000)
    expect(handle.dropped.stdout).toBe(0)
  })

  it('ends with what there is when it is not followed', async () => {
    const { process } = await box.commands.startDetached('echo begun; sleep 60')
    const handle = await box.commands.connect(process, { attach: false, follow: false })
    await expect.poll(async () => bytesOf((await now(process)).stdout)).toBe(6)
    expect(await bytesOf(handle.stdout)).toBe(6)
    await box.commands.kill(process)
  })

  it('goes on at the same byte when the daemon is killed and started again', async () => {
    const handle = await box.commands.start('for i in $(seq 1 60); do seq 1 20000; sleep 0.05; done; exit 3')
    const hash = createHash('sha256')
    let bytes = 0
    let restart: Promise<void> | undefined
    for await (const chunk of handle.stdout as AsyncIterable<Buffer>) {
      hash.update(chunk)
      bytes += chunk.length
      if (bytes > 1_000_000) restart ??= daemon.kill().then(() => daemon.start())
    }
    await restart
    expect(await handle.wait()).toMatchObject({ exitCode: 3 })
    const local = await box.commands.run('for i in $(seq 1 60); do seq 1 20000; done | sha256sum')
    expect(hash.digest('hex')).toBe(local.stdout.split(' ')[0])
  })
})

async function runningCommands(): Promise<(string | undefined)[]> {
  const processes = await box.commands.list()
  return processes.filter((info) => info.state === 'running').map((info) => info.command.at(-1))
}

function now(process: string): Promise<CommandHandle> {
  return box.commands.connect(process, { attach: false, follow: false })
}

describe('a cancelled run', () => {
  it.each([0, 1, 5, 100])('leaves nothing behind, %i ms after its start', async (ms) => {
    const reason = new Error('changed my mind')
    const cancel = new AbortController()
    const run = box.commands.run(`sleep 60.${ms}`, { signal: cancel.signal })
    setTimeout(() => cancel.abort(reason), ms)
    await expect(run).rejects.toMatchObject({ code: 'aborted', cause: reason })
    // The kill is sent before the rejection; the end of the process is told a moment later.
    await expect.poll(runningCommands).not.toContain(`sleep 60.${ms}`)
  })

  it('leaves no sandbox behind', async () => {
    const cancel = new AbortController()
    const create = Sandbox.create({ client, name: 'unwanted', signal: cancel.signal })
    setTimeout(() => cancel.abort(), 1)
    await expect(create).rejects.toMatchObject({ code: 'aborted' })
    await expect(Sandbox.connect('unwanted', { client })).rejects.toMatchObject({ code: 'sandbox_not_found' })
  })
})

describe('input', () => {
  it('that never ends does not outlive the command', async () => {
    const endless = new PassThrough()
    endless.write('first\n')
    const result = await box.commands.run('head -n 1', { stdin: endless })
    expect(result.stdout).toBe('first\n')
  })

  it('that cannot be read is not taken for a missing daemon', async () => {
    const missing = createReadStream('/nonexistent/file')
    await expect(box.files.write('/root/x', missing)).rejects.toMatchObject({
      code: 'invalid_request',
      message: expect.stringContaining('/nonexistent/file'),
    })
  })
})
