/** Programs people run, unchanged. */
import { Client, Sandbox } from 'deltabox'
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

async function ok(script: string, where: Sandbox = box): Promise<string> {
  const result = await where.commands.run(script, { timeoutMs: 110_000 })
  expect(result.exitCode, `${result.stdout}\n${result.stderr}`).toBe(0)
  return result.stdout
}

describe('in a sandbox', () => {
  it('git makes, clones and rewrites a repository', async () => {
    await ok(`cd /root && git init -q one && cd one && git config user.email a@b && git config user.name n
      for i in 1 2 3; do echo $i > f$i; git add .; git commit -qm $i; done
      cd .. && git clone -q one two && cd two && git checkout -q HEAD~1 && git gc -q`)
    expect(await ok('cd /root/two && git log --oneline | wc -l && git fsck && ls')).toBe('2\nf1\nf2\n')
  })

  it('gcc and make build and run a program', async () => {
    await box.files.write('/root/c/main.c', '#include <stdio.h>\nint main(void) { puts("built"); }\n')
    await box.files.write('/root/c/Makefile', 'main: main.c\n\tgcc -O2 -o $@ $<\n')
    expect(await ok('cd /root/c && make -s && ./main')).toBe('built\n')
  })

  it('python makes a virtual environment and uses it', async () => {
    await ok('cd /root && /usr/bin/python3 -m venv venv && venv/bin/pip --version')
    expect(await ok('/root/venv/bin/python -c "import sys; print(sys.prefix)"')).toBe('/root/venv\n')
  })

  it('node runs timers, workers and a server', async () => {
    const script = `const http = require('http'); const { Worker } = require('worker_threads')
      const s = http.createServer((q, r) => r.end('served')).listen(0, '127.0.0.1', () => http.get(s.address(), (r) =>
        r.on('data', (d) => { new Worker('require("worker_threads").parentPort.postMessage(7)', { eval: true })
          .on('message', (m) => { console.log(String(d), m); s.close(); s.closeAllConnections() }) })))`
    await box.files.write('/root/s.js', script)
    expect(await ok('node /root/s.js')).toBe('served 7\n')
  })

  it('npm ci installs with the host’s network and settings', async () => {
    const online = await Sandbox.create({ client, net: 'host', env: proxySettings() })
    await online.files.write(
      '/root/p/package.json',
      '{"name":"p","version":"1.0.0","dependencies":{"is-number":"7.0.0"}}',
    )
    await ok(
      'cd /root/p && npm install --package-lock-only --no-audit --no-fund && npm ci --no-audit --no-fund',
      online,
    )
    expect(await ok('cd /root/p && node -p "require(\'is-number\')(5)"', online)).toBe('true\n')
    await online.kill()
  })

  it('processes of several users, su and sticky directories behave', async () => {
    expect(
      await ok('touch /tmp/mine; su nobody -s /bin/sh -c "id -un; rm /tmp/mine 2>/dev/null || echo kept"'),
    ).toBe('nobody\nkept\n')
  })

  it('a directory of the base can be renamed, emptied and made anew', async () => {
    await ok(
      'mv /usr/share/doc /usr/share/doc2 && ls /usr/share/doc2 | head -1 && rm -rf /usr/share/doc2 && mkdir /usr/share/doc',
    )
    expect(await ok('ls -A /usr/share/doc')).toBe('')
  })

  it.each([
    ['top', ['top', '-d', '0.2'], /load average/, 'q'],
    ['vim', ['vim', '-u', 'NONE', '/etc/hostname'], /"\/etc\/hostname"/, ':q!\r'],
  ])('%s draws its screen on a terminal and ends when told', async (_name, argv, drawn, quit) => {
    const handle = await box.commands.start(argv, {
      tty: { cols: 100, rows: 30 },
      stdin: true,
      env: { TERM: 'xterm' },
    })
    let screen = ''
    const seen = new Promise<void>((resolve) => {
      handle.stdout.on('data', (chunk: Buffer) => {
        screen += chunk
        if (drawn.test(screen)) resolve()
      })
    })
    await seen
    await handle.resize({ cols: 80, rows: 24 })
    await handle.sendStdin(quit)
    expect((await handle.wait()).exitCode).toBe(0)
  })
})

/** What npm needs of this machine to reach its registry. */
function proxySettings(): Record<string, string> {
  const wanted = /^(npm_config_.*|https?_proxy|no_proxy|node_extra_ca_certs|ssl_cert_(file|dir))$/i
  const local =
    /^npm_config_(cache|prefix|userconfig|globalconfig|local_prefix|node_gyp|init_module|user_agent|noproxy)$/i
  const entries = Object.entries(process.env).filter(
    ([name, value]) => value && wanted.test(name) && !local.test(name),
  )
  return Object.fromEntries(entries) as Record<string, string>
}
