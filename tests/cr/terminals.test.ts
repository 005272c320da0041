/** What runs on a terminal of its client, and a shell that is kept open. */
import { type CommandHandle, Sandbox } from 'deltabox'
import { expect, it } from 'vitest'
import { useDaemon } from '../e2e/support/use-daemon.js'

const the = useDaemon()

const ROUNDS = 20
const TTY = { tty: { cols: 91, rows: 37 } } as const

/** A program on a terminal, told what to do by lines. */
class Dialogue {
  readonly #handle: CommandHandle
  readonly #pieces: AsyncIterator<string>
  #seen = ''

  constructor(handle: CommandHandle) {
    this.#handle = handle
    this.#pieces = handle.stdout[Symbol.asyncIterator]()
  }

  get process(): string {
    return this.#handle.process
  }

  async send(text: string): Promise<void> {
    await this.#handle.sendStdin(text)
  }

  /** What is between the marks in what comes next. */
  async answer(): Promise<string> {
    for (;;) {
      const found = /<<(.*?)>>/s.exec(this.#seen)
      if (found) {
        this.#seen = this.#seen.slice(found.index + found[0].length)
        return found[1] ?? ''
      }
      const { value, done } = await this.#pieces.next()
      if (done) throw new Error(`ended after ${JSON.stringify(this.#seen)}`)
      this.#seen += value
    }
  }
}

const REPORT = `
import fcntl, os, struct, sys, termios
def report():
    size = struct.unpack('HHHH', fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))
    lflag = termios.tcgetattr(0)[3]
    own = os.open('/dev/tty', os.O_RDWR)
    name = os.ttyname(0)
    os.close(own)
    st = os.stat(name)
    return [name, size[:2], bool(lflag & termios.ECHO), bool(lflag & termios.ICANON), os.tcgetpgrp(0) == os.getpgrp(),
            struct.unpack('i', fcntl.ioctl(0, 0x5429, bytes(4)))[0] == os.getsid(0), oct(st.st_mode), st.st_uid, st.st_gid]
attributes = termios.tcgetattr(0)
attributes[3] &= ~termios.ECHO
termios.tcsetattr(0, termios.TCSANOW, attributes)
tty = open('/dev/tty')
print('<<ready>>', flush=True)
for line in sys.stdin:
    if line == 'leave\\n':
        termios.tcsetwinsize(0, (5, 6))
        attributes[3] |= termios.ECHO
        termios.tcsetattr(0, termios.TCSANOW, attributes)
        os.chmod(os.ttyname(0), 0o666)
    print('<<', *report(), '', '>>', sep='|', flush=True)
`

async function started(box: Sandbox): Promise<Dialogue> {
  const dialogue = new Dialogue(await box.commands.start(['python3', '-c', REPORT], TTY))
  expect(await dialogue.answer()).toBe('ready')
  return dialogue
}

async function asked(dialogue: Dialogue, what: string): Promise<string> {
  await dialogue.send(`${what}\n`)
  return dialogue.answer()
}

const AS_IT_WAS = '|/dev/pts/0|(37, 91)|False|True|True|True|0o20620|0|5||'

it('a terminal of a command is as it was after rollbacks and in forks', async () => {
  const box = await Sandbox.create({ client: the.client })
  const dialogue = await started(box)
  expect(await asked(dialogue, 'report')).toBe(AS_IT_WAS)
  const checkpoint = await box.checkpoint()
  for (let round = 0; round < 3; round++) {
    expect(await asked(dialogue, 'leave')).toContain('(5, 6)|True')
    expect((await box.rollback(checkpoint)).source).toBe('template')
    expect(await asked(dialogue, 'report')).toBe(AS_IT_WAS)
  }
  await asked(dialogue, 'leave')
  for (const kid of await checkpoint.fork(3)) {
    const copy = new Dialogue(await kid.commands.connect(dialogue.process))
    expect(await asked(copy, 'report')).toBe(AS_IT_WAS)
    await kid.kill({ checkpoints: true })
  }
  await box.kill({ checkpoints: true })
})

it(`a terminal of a command is as it was through ${ROUNDS} rounds`, async () => {
  const box = await Sandbox.create({ client: the.client })
  const dialogue = await started(box)
  for (let round = 0; round < ROUNDS; round++) {
    const checkpoint = await box.checkpoint()
    expect(await asked(dialogue, 'report')).toBe(AS_IT_WAS)
    if (round % 2 === 1) await asked(dialogue, 'leave')
    await box.rollback(checkpoint)
  }
  expect(await asked(dialogue, 'report')).toBe(AS_IT_WAS)
  await box.kill({ checkpoints: true })
})

it('an interrupt typed at a terminal reaches the program after a rollback', async () => {
  const box = await Sandbox.create({ client: the.client })
  const handle = await box.commands.start(
    ['python3', '-c', 'import time\nprint("<<ready>>", flush=True)\ntime.sleep(600)'],
    TTY,
  )
  const dialogue = new Dialogue(handle)
  expect(await dialogue.answer()).toBe('ready')
  await box.rollback(await box.checkpoint())
  await dialogue.send('\x03')
  await expect(handle.wait()).resolves.toMatchObject({ exitCode: null, signal: 'SIGINT' })
  await box.kill({ checkpoints: true })
})

it('bash on a terminal goes on', async () => {
  const box = await Sandbox.create({ client: the.client })
  const dialogue = new Dialogue(await box.commands.start(['bash', '--norc'], TTY))
  await dialogue.send("x=41; echo '<''<ready>''>'\n")
  expect(await dialogue.answer()).toBe('ready')
  const checkpoint = await box.checkpoint()
  for (let round = 0; round < 3; round++) {
    await dialogue.send("x=1; echo '<''<'$x'>''>'\n")
    expect(await dialogue.answer()).toBe('1')
    expect((await box.rollback(checkpoint)).source).toBe('template')
    await dialogue.send("echo '<''<'$((x + 1)) $(tty)'>''>'\n")
    expect(await dialogue.answer()).toBe('42 /dev/pts/0')
  }
  await box.kill({ checkpoints: true })
})

it('a shell goes on after rollbacks and in forks', async () => {
  const box = await Sandbox.create({ client: the.client })
  const shell = await box.shell()
  await shell.run('cd /srv; x=1; f() { echo "f $x $PWD"; }')
  const checkpoint = await box.checkpoint()
  for (let round = 0; round < 3; round++) {
    expect((await shell.run('x=2; cd /; f')).stdout).toBe('f 2 /\n')
    expect((await box.rollback(checkpoint)).source).toBe('template')
    expect((await shell.run('f')).stdout).toBe('f 1 /srv\n')
  }
  await box.kill({ checkpoints: true })
})
