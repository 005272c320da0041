/** What hostile code inside may not do; each refusal is a fact of its own. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Client, Sandbox } from 'deltabox'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TestDaemon } from './support/daemon.js'

let daemon: TestDaemon
let client: Client
let box: Sandbox
let other: Sandbox

beforeAll(async () => {
  daemon = await TestDaemon.start()
  client = new Client({ url: daemon.url })
  box = await Sandbox.create({ client })
  other = await Sandbox.create({ client })
  await other.files.write('/root/secret', 'of the other sandbox')
})
afterAll(() => daemon.clean())

async function sh(script: string): Promise<{ exitCode: number | null; stdout: string; stderr: string }> {
  return box.commands.run(script, { timeoutMs: 60_000 })
}

describe('the host’s secrets', () => {
  it('the shadow file inside is not the host’s', async () => {
    const host = readFileSync('/etc/shadow', 'utf8')
    const inside = await sh('cat /etc/shadow /etc/shadow- /etc/gshadow 2>/dev/null')
    expect(inside.stdout).toContain('root:*:')
    for (const line of host.split('\n')) {
      const hash = line.split(':')[1] ?? ''
      if (hash.length > 3) expect(inside.stdout).not.toContain(hash)
    }
  })

  it('home directories are empty', async () => {
    expect((await sh('ls -A /home; ls -A /root')).stdout).toBe('')
  })

  it('host ssh keys and private TLS keys are hidden', async () => {
    expect((await sh('ls /etc/ssh/ssh_host_*_key /etc/ssl/private/* 2>/dev/null')).stdout).toBe('')
  })

  it('the data directory, other sandboxes and sockets are not there', async () => {
    expect(
      (await sh(`ls ${daemon.dataDir} ${daemon.runBase} 2>&1; ls -A /run/deltabox 2>/dev/null`)).stdout,
    ).toMatch(/No such file/)
    expect((await sh('grep -rs "of the other sandbox" /root /home /tmp /var/tmp /run')).stdout).toBe('')
  })

  it('no environment or argument of the engine is readable', async () => {
    const { stdout } = await sh(
      'cat /proc/1/environ /proc/1/maps 2>/dev/null; tr "\\0" " " < /proc/1/cmdline; readlink /proc/1/exe',
    )
    expect(stdout.trim()).toBe('deltabox')
  })
})

describe('rights', () => {
  it('root inside is not root of the host', async () => {
    const handle = await box.commands.start(['sleep', '60'])
    const pids = spawnSync('pgrep', ['-x', 'sleep']).stdout.toString().trim().split('\n')
    const uids = pids.map((pid) => /^Uid:\t(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
    expect(uids.some((uid) => Number(uid) >= 0x40000000)).toBe(true)
    expect((await sh('id -u')).stdout).toBe('0\n')
    await handle.kill()
    await handle.wait()
  })

  it.each([
    ['mount a file system', 'mount -t tmpfs none /mnt'],
    ['bind mount', 'mount --bind /etc /mnt'],
    ['unmount', 'umount /proc/sys'],
    ['make a user namespace', 'unshare -U true'],
    ['make a mount namespace', 'unshare -m true'],
    ['make a device', 'mknod /tmp/disk b 254 0 && cat /tmp/disk'],
    ['load a module', 'insmod /dev/null || modprobe loop'],
    ['write to /proc/sys', 'echo 1 > /proc/sys/kernel/panic'],
    ['write to a network setting', 'echo 1 > /proc/sys/net/ipv4/ip_forward'],
    ['write to /sys', 'echo 1 > /sys/kernel/mm/ksm/run'],
    ['trigger sysrq', 'echo h > /proc/sysrq-trigger'],
    ['set the clock', 'date -s 2001-01-01'],
    ['set the hostname', 'hostname evil'],
    ['read kernel memory', 'head -c 1 /proc/kcore | grep -q .'],
    ['read the kernel log', 'dmesg'],
    ['reboot', 'reboot -f'],
  ])('cannot %s', async (_what, script) => {
    const result = await sh(`(${script}) 2>&1`)
    expect(result.exitCode, result.stdout).not.toBe(0)
  })

  it('cannot trace or signal the init, nor see any process of the host', async () => {
    const script = `
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
assert libc.ptrace(16, 1, 0, 0) == -1 and ctypes.get_errno() == 1, 'attached to init'
os.kill(1, 9)
pids = [int(p) for p in os.listdir('/proc') if p.isdigit()]
names = {p: open(f'/proc/{p}/comm').read().strip() for p in pids}
print(sorted(set(names.values())))
`
    await box.files.write('/tmp/look.py', script)
    const { stdout, stderr, exitCode } = await sh('/usr/bin/python3 /tmp/look.py')
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
    expect(stdout).toBe("['deltabox-init', 'python3', 'sh']\n")
  })

  it('refuses dangerous system calls and leaves absent ones absent', async () => {
    const calls: [number, number][] = [
      [321, 1], // bpf: EPERM
      [298, 1], // perf_event_open: EPERM
      [304, 1], // open_by_handle_at: EPERM
      [250, 1], // keyctl: EPERM
      [175, 1], // init_module: EPERM
      [425, 38], // io_uring_setup: ENOSYS
      [435, 38], // clone3: ENOSYS
      [1000, 38], // not yet invented: ENOSYS
    ]
    await box.files.write(
      '/tmp/calls.py',
      `import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for number in [${calls.map(([number]) => number)}]:
    assert libc.syscall(number, 0, 0, 0, 0, 0) == -1
    print(ctypes.get_errno())
`,
    )
    expect((await sh('/usr/bin/python3 /tmp/calls.py')).stdout).toBe(
      calls.map(([, errno]) => `${errno}\n`).join(''),
    )
  })

  it('has no network but loopback', async () => {
    const { stdout } = await sh('ls /sys/class/net; cat /proc/net/route | tail -n +2')
    expect(stdout).toBe('lo\n')
    const connect = "import socket; s = socket.socket(); s.settimeout(3); s.connect(('192.0.2.1', 80))"
    expect((await sh(`/usr/bin/python3 -c "${connect}"`)).stderr).toMatch(/unreachable/)
    expect((await sh('/usr/bin/python3 -c "import socket; socket.socket(40, 1)"')).stderr).toMatch(
      /not supported/,
    )
  })
})

describe('paths given to the file calls', () => {
  it.each([
    '/proc/self/fd/3',
    '/proc/1/root/etc/shadow',
    '/proc/self/root/etc/hostname',
    '/proc/thread-self/cwd/x',
  ])('cannot go through %s', async (hostile) => {
    await expect(box.files.read(hostile)).rejects.toMatchObject({ name: 'DeltaBoxError' })
  })

  it('a link made inside leads to the sandbox’s own files', async () => {
    const marker = path.join(daemon.directory, 'host-only')
    writeFileSync(marker, 'of the host')
    await sh(`rm -rf /tmp/l; ln -s ${marker} /tmp/l; ln -s ../../../../../../../../../.. /tmp/up`)
    await expect(box.files.read('/tmp/l')).rejects.toMatchObject({ code: 'file_not_found' })
    expect(await box.files.read('/tmp/up/etc/hostname')).toBe(`${box.id}\n`)
    await box.files.write('/tmp/up/tmp/written', 'x')
    expect(existsSync('/tmp/written')).toBe(false)
    await box.files.remove('/tmp/up')
    expect(await box.files.read('/tmp/written')).toBe('x')
  })

  it('pipes and devices are refused without waiting', async () => {
    await sh('mkfifo /tmp/fifo')
    await expect(box.files.read('/tmp/fifo')).rejects.toMatchObject({ code: 'not_a_file' })
    await expect(box.files.read('/dev/zero')).rejects.toMatchObject({ code: 'not_a_file' })
    await expect(box.files.read('/etc')).rejects.toMatchObject({ code: 'is_directory' })
  })
})

describe('a runaway', () => {
  it('that forks without end is held by its own limit', async () => {
    const small = await Sandbox.create({ client, pids: 64 })
    const bomb = await small.commands
      .run('f() { f | f & wait; }; f', { timeoutMs: 4000 })
      .catch((error) => error)
    expect(['timeout', undefined]).toContain(bomb.code)
    expect((await sh('echo alive')).stdout).toBe('alive\n')
    await small.kill()
  })

  it('that takes all memory dies alone, and it is told why', async () => {
    const small = await Sandbox.create({ client, memory: '64m' })
    const hog = await small.commands.start(['/usr/bin/python3', '-c', 'a = bytearray(300 << 20)'])
    expect(await hog.wait()).toMatchObject({ signal: 'SIGKILL', oomKilled: true })
    expect((await small.commands.run('echo fine')).stdout).toBe('fine\n')
    await small.kill()
  })

  it('that fills the disk is stopped at its limit', async () => {
    const small = await Sandbox.create({ client, disk: '64m' })
    const filler = await small.commands.start(
      'while :; do head -c 8m /dev/zero >> /root/full; sleep 0.02; done',
    )
    expect(await filler.wait()).toMatchObject({ signal: 'SIGKILL' })
    expect((await small.commands.run('rm /root/full; echo freed')).stdout).toBe('freed\n')
    await small.kill()
  })
})
