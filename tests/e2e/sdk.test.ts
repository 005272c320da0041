/** The SDK against a real daemon. */
import { createHash, randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { Client, Sandbox } from 'deltabox'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TestDaemon } from './support/daemon.js'

let daemon: TestDaemon
let client: Client
let box: Sandbox

beforeAll(async () => {
  daemon = await TestDaemon.start()
  client = new Client({ url: daemon.url })
  box = await Sandbox.create({ client, name: 'sdk' })
})
afterAll(() => daemon.clean())

describe('sandboxes', () => {
  it('are found by id, name and the beginning of an id, and listed', async () => {
    for (const name of [box.id, 'sdk', box.id.slice(0, 8)]) {
      expect((await Sandbox.connect(name, { client })).id).toBe(box.id)
    }
    expect((await Sandbox.list({ client })).map((info) => info.name)).toContain('sdk')
    await expect(Sandbox.connect('nobody', { client })).rejects.toMatchObject({ code: 'sandbox_not_found' })
  })

  it('refuse a name that is taken and options that make no sense', async () => {
    await expect(Sandbox.create({ client, name: 'sdk' })).rejects.toMatchObject({ code: 'name_taken' })
    await expect(Sandbox.create({ client, memory: 'much' })).rejects.toMatchObject({
      code: 'invalid_request',
    })
    await expect(Sandbox.create({ client, base: '/nonexistent' })).rejects.toMatchObject({
      code: 'base_not_found',
    })
    await expect(Sandbox.create({ client, workspace: '/nonexistent' })).rejects.toMatchObject({
      code: 'workspace_not_found',
    })
    await expect(Sandbox.create({ client, pids: -1 })).rejects.toMatchObject({ code: 'invalid_request' })
  })

  it('are gone after kill, which may be called again', async () => {
    const short = await Sandbox.create({ client })
    await short.kill()
    await short.kill()
    await expect(short.commands.run('true')).rejects.toMatchObject({ code: 'sandbox_not_found' })
  })

  it('tell what they use', async () => {
    expect(await box.stats()).toMatchObject({
      memoryBytes: expect.any(Number),
      diskBytes: expect.any(Number),
    })
  })
})

describe('commands', () => {
  it('give status, streams and bytes', async () => {
    expect(await box.commands.run('echo out; echo err >&2; exit 4')).toEqual({
      exitCode: 4,
      signal: null,
      stdout: 'out\n',
      stderr: 'err\n',
    })
    const bytes = await box.commands.run('printf "\\377\\0x"', { encoding: 'buffer' })
    expect(bytes.stdout).toEqual(Buffer.from([255, 0, 120]))
    expect((await box.commands.run('kill -TERM $$')).signal).toBe('SIGTERM')
  })

  it('take 5 MB on standard input and give them back', async () => {
    const data = randomBytes(5_000_000)
    const echoed = await box.commands.run(['cat'], { stdin: data, encoding: 'buffer' })
    expect(echoed.stdout.equals(data)).toBe(true)
    const streamed = await box.commands.run(['sha256sum'], {
      stdin: Readable.from([data.subarray(0, 1000), data.subarray(1000)], { objectMode: false }),
    })
    expect(streamed.stdout.slice(0, 64)).toBe(createHash('sha256').update(data).digest('hex'))
    expect((await box.commands.run(['true'], { stdin: data })).exitCode).toBe(0)
  })

  it('that cannot start say why', async () => {
    await expect(box.commands.run(['nonesuch'])).rejects.toMatchObject({ code: 'command_not_found' })
    await expect(box.commands.run(['/etc/passwd'])).rejects.toMatchObject({ code: 'command_not_executable' })
    await expect(box.commands.run('true', { cwd: '/nowhere' })).rejects.toMatchObject({
      code: 'cwd_not_found',
    })
    await expect(box.commands.run('true', { user: 'nobody-at-all' })).rejects.toMatchObject({
      code: 'user_not_found',
    })
  })

  it('are ended at their time limit, with what they printed', async () => {
    await expect(box.commands.run('echo before; sleep 60 & wait', { timeoutMs: 300 })).rejects.toMatchObject({
      code: 'timeout',
      details: { stdout: 'before\n' },
    })
  })

  it('are ended when their signal is aborted', async () => {
    const abort = new AbortController()
    const running = box.commands.run('echo $$ > /root/pid; sleep 60', { signal: abort.signal })
    while (!(await box.files.exists('/root/pid'))) await new Promise((resolve) => setTimeout(resolve, 10))
    abort.abort(new Error('enough'))
    await expect(running).rejects.toMatchObject({
      code: 'aborted',
      cause: expect.objectContaining({ message: 'enough' }),
    })
    expect((await box.commands.run('sleep 0.2; kill -0 $(cat /root/pid)')).exitCode).not.toBe(0)
  })

  it('wait for a slow reader instead of filling memory', async () => {
    const handle = await box.commands.start('head -c 30000000 /dev/zero; echo finished > /root/done')
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(await box.files.exists('/root/done')).toBe(false)
    let bytes = 0
    for await (const chunk of handle.stdout) bytes += (chunk as Buffer).length
    expect(bytes).toBe(30_000_000)
    expect((await handle.wait()).exitCode).toBe(0)
    expect(await box.files.exists('/root/done')).toBe(true)
  })

  it('on a terminal deliver their last lines to a slow reader, also more than the ring holds', async () => {
    for (const lines of [...Array.from({ length: 12 }, () => 50_000), 1_200_000]) {
      const handle = await box.commands.start(['seq', '1', String(lines)], { tty: { cols: 80, rows: 24 } })
      handle.stderr.resume()
      await new Promise((resolve) => setTimeout(resolve, 60))
      let count = 0
      for await (const chunk of handle.stdout) for (const byte of chunk as Buffer) if (byte === 10) count++
      expect(count).toBe(lines)
    }
  })

  it('can be left running, listed, connected to and killed', async () => {
    const info = await box.commands.startDetached('echo hello; sleep 60')
    const again = await box.commands.connect(info.process, { attach: false })
    const [first] = (await again.stdout[Symbol.asyncIterator]().next()).value.toString().split('\n')
    expect(first).toBe('hello')
    expect((await box.commands.list()).find(({ process }) => process === info.process)?.state).toBe('running')
    await box.commands.kill(info.process, 'SIGTERM')
    expect((await (await box.commands.connect(info.process)).wait()).signal).toBe('SIGTERM')
  })

  it('go on, and lose and double no byte, when the daemon is killed under them', async () => {
    const script =
      'i=0; while [ $i -lt 4000 ]; do echo "line $i"; i=$((i+1)); [ $((i % 100)) = 0 ] && sleep 0.03; done; exit 9'
    const handle = await box.commands.start(script)
    let text = ''
    const killed = new Promise<void>((resolve) => {
      handle.stdout.on('data', (chunk: Buffer) => {
        text += chunk
        if (text.length > 8000) resolve()
      })
    })
    handle.stderr.resume()
    await killed
    await daemon.kill()
    await new Promise((resolve) => setTimeout(resolve, 300))
    await daemon.start()
    expect((await handle.wait()).exitCode).toBe(9)
    expect(text).toBe(Array.from({ length: 4000 }, (_, line) => `line ${line}\n`).join(''))
  })
})

describe('a shell', () => {
  it('keeps directory, variables and functions; a syntax error is a status', async () => {
    const shell = await box.shell()
    expect(await shell.run('cd /usr; export X="a b"; f() { echo "f $1"; }')).toEqual({
      exitCode: 0,
      stdout: '',
      stderr: '',
    })
    expect((await shell.run('pwd; echo "$X"; f 1')).stdout).toBe('/usr\na b\nf 1\n')
    expect((await shell.run('printf no-newline')).stdout).toBe('no-newline')
    expect((await shell.run("cat <<'END'\nit's $HOME\nEND")).stdout).toBe("it's $HOME\n")
    expect((await shell.run('if then')).exitCode).not.toBe(0)
    expect(await shell.run('echo oops >&2; (exit 5)')).toEqual({ exitCode: 5, stdout: '', stderr: 'oops\n' })
    expect((await shell.run('cat; echo end')).stdout).toBe('end\n')
    const [one, two] = await Promise.all([shell.run('sleep 0.1; echo 1'), shell.run('echo 2')])
    expect([one.stdout, two.stdout]).toEqual(['1\n', '2\n'])
    await shell.close()
  })

  it('that exits gives its status, and says so on the next run', async () => {
    const shell = await box.shell()
    expect(await shell.run('echo bye; exit 3')).toMatchObject({ exitCode: 3, stdout: 'bye\n' })
    await expect(shell.run('true')).rejects.toMatchObject({
      code: 'process_ended',
      details: { exitCode: 3 },
    })
  })

  it('that was killed between runs takes no script, rather than tell its own status as that of one', async () => {
    const shell = await box.shell()
    await box.commands.kill(shell.process)
    await expect(shell.run('true')).rejects.toMatchObject({
      code: 'process_ended',
      details: { signal: 'SIGKILL' },
    })
  })

  it('is interrupted at the time limit of a run, and goes on', async () => {
    const shell = await box.shell()
    await shell.run('cd /usr; X=kept')
    const loop = 'echo begun; while :; do sleep 1; done; echo never'
    await expect(shell.run(loop, { timeoutMs: 300 })).rejects.toMatchObject({
      code: 'timeout',
      details: { stdout: 'begun\n', shellEnded: false },
    })
    await expect(shell.run('sleep 60', { signal: AbortSignal.timeout(200) })).rejects.toMatchObject({
      code: 'aborted',
    })
    expect((await shell.run('pwd; echo $X')).stdout).toBe('/usr\nkept\n')
    expect((await box.commands.run(['pgrep', '-x', 'sleep', '-a'])).stdout).not.toContain('sleep 1\n')
    await shell.close()
  })

  it('is killed with a script that takes no interrupt', async () => {
    const shell = await box.shell()
    const stubborn = shell.run("trap '' INT; sleep 60", { timeoutMs: 200 })
    await expect(stubborn).rejects.toMatchObject({ code: 'timeout', details: { shellEnded: true } })
    await expect(shell.run('true')).rejects.toMatchObject({ code: 'process_ended' })
  })

  it.each([
    ['echo "a', 'an open quote'],
    ['set -x; echo hi', 'tracing'],
    ['set -v', 'echoing input'],
    ['PS1="(venv) "', 'a prompt'],
    ['exec >/root/redirected', 'output sent elsewhere'],
    ["printf() { echo mine; }; alias command='echo no'", 'its tools redefined'],
    ['(exit 9)', 'a failure'],
    ['echo $((1/0))', 'a failed expansion'],
  ])('survives %j', async (script) => {
    const shell = await box.shell()
    await shell.run(script)
    expect(await shell.run('cat; echo still >&2; (exit 6)')).toMatchObject({
      exitCode: 6,
      stderr: expect.stringMatching(/still\n/),
    })
    expect((await shell.run('true')).exitCode).toBe(0)
    await shell.close()
  })

  it('takes large output at the speed it comes, and refuses too much', async () => {
    const shell = await box.shell()
    const { stdout } = await shell.run("head -c 20000000 /dev/zero | tr '\\0' a")
    expect(stdout.length).toBe(20_000_000)
    await expect(shell.run('yes', { maxOutputBytes: 1000 })).rejects.toMatchObject({
      code: 'invalid_request',
    })
    expect((await shell.run('echo on')).stdout).toBe('on\n')
    await shell.close()
  })
})

describe('files', () => {
  it('are written and read as text, bytes and streams, and parents are made', async () => {
    await box.files.write('/root/deep/er/text', 'häuser\n')
    expect(await box.files.read('/root/deep/er/text')).toBe('häuser\n')
    const data = randomBytes(3_000_000)
    await box.files.write('bytes', data, { mode: 0o600 })
    expect((await box.files.read('/root/bytes', { format: 'bytes' })).equals(data)).toBe(true)
    expect(await box.files.stat('bytes')).toMatchObject({
      type: 'file',
      size: 3_000_000,
      mode: 0o600,
      uid: 0,
    })
    await box.files.write('/root/streamed', Readable.from([data], { objectMode: false }))
    const hash = createHash('sha256')
    for await (const chunk of await box.files.read('/root/streamed', { format: 'stream' }))
      hash.update(chunk as Buffer)
    expect(hash.digest('hex')).toBe(createHash('sha256').update(data).digest('hex'))
    await box.files.write('/root/deep/er/text', 'more', { append: true })
    expect(await box.files.read('/root/deep/er/text')).toBe('häuser\nmore')
  })

  it('are listed, moved, linked and removed', async () => {
    await box.files.mkdir('/root/d/e')
    await box.files.write('/root/d/a', '1')
    await box.files.symlink('/root/d/l', 'a')
    await box.files.rename('/root/d/a', '/root/d/b')
    const entries = (await box.files.list('/root/d')).map(({ name, type, target }) => ({
      name,
      type,
      target,
    }))
    expect(entries.sort((a, b) => (a.name < b.name ? -1 : 1))).toEqual([
      { name: 'b', type: 'file', target: undefined },
      { name: 'e', type: 'directory', target: undefined },
      { name: 'l', type: 'symlink', target: 'a' },
    ])
    await expect(box.files.remove('/root/d')).rejects.toMatchObject({ code: 'directory_not_empty' })
    await box.files.remove('/root/d', { recursive: true })
    expect(await box.files.exists('/root/d')).toBe(false)
    await expect(box.files.read('/root/d/b')).rejects.toMatchObject({ code: 'file_not_found' })
  })

  it('refused while they are sent leave no request behind that would hold up the daemon’s end', async () => {
    await expect(box.files.write('/etc', Buffer.alloc(8 << 20))).rejects.toMatchObject({
      code: 'is_directory',
    })
    const started = performance.now()
    await daemon.stop()
    expect(performance.now() - started).toBeLessThan(3000)
    await daemon.start()
    expect(await box.files.exists('/etc')).toBe(true)
  })
})
