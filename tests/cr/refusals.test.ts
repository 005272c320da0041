/** What cannot be brought back: each refuses a checkpoint by name, and runs on; what should not be there is not. */
import { readFileSync } from 'node:fs'
import { type CommandHandle, type DeltaBoxError, Sandbox } from 'deltabox'
import { afterEach, describe, expect, it } from 'vitest'
import { useDaemon } from '../e2e/support/use-daemon.js'

const the = useDaemon()

const sound = new URL('../../native/include/sound.h', import.meta.url)

let box: Sandbox

afterEach(() => box.kill({ checkpoints: true }))

const PRELUDE = `
import ctypes, fcntl, mmap, os, pty, select, signal, socket, struct, sys, termios, threading, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
def must(result):
    if result < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def call(number, *arguments):
    return must(libc.syscall(ctypes.c_long(number), *[ctypes.c_void_p(one) if isinstance(one, int) else one for one in arguments]))
def memory(bytes, protection=3, flags=0x22):
    return libc.mmap(None, bytes, protection, flags, -1, 0)
`

interface Kind {
  readonly program: string
  readonly object: RegExp
  readonly reason: string
  /** It is so at the moment only, as far as can be known. */
  readonly passes?: boolean
  /** Not by the process itself. */
  readonly command?: string
}

/** Not every processor has them. */
const hasKeys = /^flags\s*:.*\bospke\b/m.test(readFileSync('/proc/cpuinfo', 'utf8'))

const PROTECTED: Kind = {
  program:
    'key = must(libc.pkey_alloc(0, 0)); must(libc.pkey_mprotect(ctypes.c_void_p(memory(8192)), 8192, 3, key))',
  object: /^its memory$/,
  reason: 'it has a memory protection key',
}

const KINDS: Record<string, Kind> = {
  ...(hasKeys && { 'memory with a protection key': PROTECTED }),
  'guard regions in memory that is shared': {
    program: 'at = memory(65536, flags=0x21); ctypes.memset(at, 1, 65536); call(28, at + 8192, 4096, 102)',
    object: /^its memory$/,
    reason: 'it has guard regions in memory that is shared (MADV_GUARD_INSTALL)',
  },
  'secret memory': {
    program: 'fd = call(447, 0); os.ftruncate(fd, 4096)',
    object: /^descriptor \d+ \(.*secretmem.*\)$/,
    reason: 'this kind of descriptor is not brought back',
  },
  'a process that is debugged': {
    program: `
if (child := os.fork()) == 0:
    libc.ptrace(0, 0, 0, 0); os.kill(os.getpid(), signal.SIGSTOP); time.sleep(1000)
os.waitpid(child, os.WUNTRACED)`,
    object: /^the process itself$/,
    reason: 'a debugger traces it',
  },
  '32-bit code': {
    program: `
at = memory(4096, 7, 0x22 | 0x40)
ctypes.memmove(at, b"\\xeb\\xfe", 2) # jmp itself
far = memory(4096, 7)
ctypes.memmove(far, b"\\x6a\\x23\\x68" + struct.pack("<I", at) + b"\\x48\\xcb", 9) # push 0x23; push at; retfq
if os.fork() == 0: ctypes.CFUNCTYPE(None)(far)()
time.sleep(0.2)`,
    object: /^the process itself$/,
    reason: 'it is a 32-bit program',
  },
  'who decides over system calls': {
    program: `
program = struct.pack("HBBI", 6, 0, 0, 0x7fff0000)
room = ctypes.create_string_buffer(program)
must(libc.prctl(38, 1, 0, 0, 0))
call(317, 1, 8, ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 1, ctypes.addressof(room))))`,
    object: /^descriptor \d+ \(anon_inode:seccomp notify\)$/,
    reason: 'this kind of descriptor is not brought back',
  },
  'a disarmed entry of epoll': {
    program: `
reader, writer = os.pipe(); os.write(writer, b"x")
poll = select.epoll(); poll.register(reader, select.EPOLLIN | select.EPOLLONESHOT); poll.poll()`,
    object: /^descriptor \d+ \(anon_inode:\[eventpoll\]\)$/,
    reason: 'EPOLLONESHOT has disarmed an entry of it, which was not armed again yet',
    passes: true,
  },
  'bytes that nobody has read from a terminal': {
    program: 'master, slave = pty.openpty(); os.write(master, b"a line\\n")',
    object: /^\/dev\/pts\/\d+$/,
    reason: 'nobody has read yet what was written to it',
    passes: true,
  },
  'half a line of a terminal': {
    program:
      'master, slave = pty.openpty(); os.write(master, b"half a li"); time.sleep(0.2); os.read(master, 100)',
    object: /^\/dev\/pts\/\d+$/,
    reason: 'nobody has read yet what was written to it',
    passes: true,
  },
  'asynchronous input and output': {
    program: 'call(206, 8, ctypes.byref(ctypes.c_ulong()))',
    object: /^\/\[aio\] \(deleted\)$/,
    reason: 'it is shared with what is not a file of the trees',
  },
  'a lease': {
    program:
      'fd = os.open("/srv/leased", os.O_RDONLY | os.O_CREAT); fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)',
    object: /^descriptor \d+ \(\/srv\/leased\)$/,
    reason: 'it has a lease or a lock of an unknown kind',
  },
  'a working directory that is no file': {
    program: 'os.chdir("/dev/pts")',
    object: /^\/dev\/pts$/,
    reason: 'it is its working directory',
  },
  'one of two that messages went between, of which it was parted': {
    program: `
end, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); other.close()
elsewhere = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); elsewhere.bind("\\0elsewhere"); end.connect("\\0elsewhere")`,
    object: /^descriptor \d+ \(socket:\[\d+\]\)$/,
    reason: 'it was made as one of two, and one of them is connected to another',
  },
  'one of two that messages go between, whose maker has left its number to a group': {
    program: `
if (child := os.fork()) == 0:
    os.setpgid(0, 0); end, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); other.close()
    if os.fork() == 0: time.sleep(1000)
    os._exit(0)
os.waitpid(child, 0)`,
    object: /^descriptor \d+ \(socket:\[\d+\]\)$/,
    reason: 'it was made by a process that has ended or is outside',
  },
  'a connection of TCP to itself': {
    program: `
end = socket.socket(); end.bind(("127.0.0.1", 1234)); end.connect(("127.0.0.1", 1234))`,
    object: /^descriptor \d+ \(socket:\[\d+\]\)$/,
    reason: 'it is connected to itself',
  },
  'semaphores of System V': {
    program: 'call(64, 0, 1, 0o1600)',
    object: /^System V semaphores$/,
    reason: 'it is not brought back',
    command: '',
  },
  'a message queue that nobody has open': {
    program: `
fd = must(libc.mq_open(b"/queue", os.O_CREAT | os.O_RDWR, 0o600, None)); os.close(fd)
threading.Thread(target=lambda: (time.sleep(1000), libc.mq_unlink(b"/queue")), daemon=True).start()`,
    object: /^message queue \/queue$/,
    reason: 'it is not brought back',
    command: '',
  },
}

async function start(program: string, ...args: string[]): Promise<CommandHandle> {
  const script = `${PRELUDE}${program}\nprint("ready", flush=True)\ntime.sleep(1000)`
  const handle = await box.commands.start(['python3', '-c', script, ...args])
  let printed = ''
  for await (const piece of handle.stdout) {
    printed += piece
    if (printed.includes('\n')) break
  }
  expect(printed).toBe('ready\n')
  return handle
}

interface Told {
  readonly pid: number
  readonly command: string
  readonly object: string
  readonly reason: string
}

async function refusal(): Promise<DeltaBoxError & { details: { objects: Told[]; passing: boolean } }> {
  return await box.checkpoint().then(
    () => {
      throw new Error('it was taken')
    },
    (error) => error,
  )
}

describe.each(Object.entries(KINDS))(
  '%s',
  (_, { program, object, reason, passes = false, command = 'python3' }) => {
    it('refuses a checkpoint, and runs on', async () => {
      box = await Sandbox.create({ client: the.client })
      const handle = await start(program)
      const error = await refusal()
      expect({ code: error.code, ...error.details }).toEqual({
        code: 'checkpoint_refused',
        objects: [{ pid: expect.any(Number), command, object: expect.stringMatching(object), reason }],
        more: 0,
        passing: passes,
      })
      expect(error.message).toContain(reason)
      expect(await box.commands.info(handle.process)).toMatchObject({ state: 'running' })
      expect(await box.checkpoints()).toEqual([])
    })
  },
)

it('memory protection keys are there only where the processor has them', async () => {
  box = await Sandbox.create({ client: the.client })
  const { stdout } = await box.commands.run([
    'python3',
    '-c',
    `${PRELUDE}print(libc.pkey_alloc(0, 0), ctypes.get_errno())`,
  ])
  expect(stdout).toMatch(hasKeys ? /^[1-9]/ : /^-1 /)
})

it('half a line of a terminal is whole when the rest of it comes', async () => {
  box = await Sandbox.create({ client: the.client })
  await start(
    `${KINDS['half a line of a terminal']?.program}
def finish():
    while not os.path.exists("/srv/go"): time.sleep(0.01)
    os.write(master, b"\\x7fine\\n"); read = os.read(slave, 100); time.sleep(0.2)
    with open("/srv/read", "w") as file: file.write(repr((read, os.read(master, 100))))
threading.Thread(target=finish, daemon=True).start()`,
  )
  expect((await refusal()).details.passing).toBe(true)
  await box.files.write('/srv/go', '')
  await expect.poll(() => box.files.exists('/srv/read')).toBe(true)
  await expect
    .poll(() => box.files.read('/srv/read'))
    .toBe(String.raw`(b'half a line\n', b'\x08 \x08ine\r\n')`.replaceAll('\\\\', '\\'))
  await box.checkpoint()
})

it('several at once are all told of, and the rest of the sandbox is as it was', async () => {
  box = await Sandbox.create({ client: the.client })
  const wanted = Object.values(KINDS).filter(({ passes }) => !passes)
  for (const { program } of wanted) await start(program)
  const writer = 'import time\nwhile True: time.sleep(0.01); open("/srv/log", "a").write("1")'
  await box.commands.start(['python3', '-c', writer])
  await expect.poll(() => box.files.exists('/srv/log')).toBe(true)
  const { details, message } = await refusal()
  const told = details.objects.map(({ object, reason }) => `${object}: ${reason}`)
  for (const { object, reason } of wanted) {
    expect(told).toContainEqual(
      expect.stringMatching(`${object.source.replace('$', '')}: ${quoted(reason)}$`),
    )
  }
  expect(told.length).toBe(wanted.length)
  expect(details.passing).toBe(false)
  expect(message).toMatch(/; and \d+ more$/)
  const lines = await box.files.read('/srv/log')
  await expect.poll(() => box.files.read('/srv/log')).not.toBe(lines)
  const running = (await box.commands.list()).filter(({ state }) => state === 'running')
  expect(running.length).toBe(wanted.length + 1)
})

function quoted(text: string): string {
  return text.replace(/[()]/g, '\\$&')
}

it('more than a list has room for are counted', async () => {
  box = await Sandbox.create({ client: the.client })
  await start('fds = [call(447, 0) for _ in range(70)]')
  expect((await refusal()).details).toMatchObject({ more: 6, objects: { length: 64 } })
})

it('more processes than an image may have, those included that have ended', async () => {
  box = await Sandbox.create({ client: the.client, pids: 8192 })
  const most = Number(/^#define MEMBERS_MAX (\d+)u$/m.exec(readFileSync(sound, 'utf8'))?.[1])
  const program = 'for _ in range(int(sys.argv[1])): os.fork() or os._exit(0)'
  await start(program, `${most - 1}`)
  await box.checkpoint()
  await start('pass')
  expect((await refusal()).details.objects).toEqual([
    { pid: 0, command: '', object: 'the processes', reason: `there are more than ${most} of them` },
  ])
})

describe('what no checkpoint could keep, and nobody could see,', () => {
  const calls: Record<string, [number, string]> = {
    io_uring: [425, 'ENOSYS'],
    'performance counters': [298, 'EPERM'],
    bpf: [321, 'EPERM'],
    fanotify: [300, 'EPERM'],
    userfaultfd: [323, 'EPERM'],
    Landlock: [444, 'ENOSYS'],
    'sealed memory': [462, 'ENOSYS'],
  }
  it.each(Object.entries(calls))('is not there: %s', async (_, [number, errno]) => {
    box = await Sandbox.create({ client: the.client })
    const script = `${PRELUDE}
import errno
room = ctypes.create_string_buffer(256)
print(libc.syscall(${number}, room, 0, 0, 0, 0) < 0 and errno.errorcode[ctypes.get_errno()])`
    expect((await box.commands.run(['python3', '-c', script])).stdout).toBe(`${errno}\n`)
  })
})
