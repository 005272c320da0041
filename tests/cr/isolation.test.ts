/** What a sandbox sees of its checkpoints, and what it can do to them: nothing. */
import { existsSync, readFileSync } from 'node:fs'
import { linesOf } from '@deltabox/bench/inside'
import { type CommandHandle, Sandbox } from 'deltabox'
import { expect, it } from 'vitest'
import { useDaemon } from '../e2e/support/use-daemon.js'
import { Family } from './support/family.js'
import { Ledger } from './support/ledger.js'
import { Victim } from './support/victim.js'

const the = useDaemon()

const ROUNDS = Number(process.env.DELTABOX_TEST_ROUNDS ?? 10)

/** A program that tells of all in /proc that was not there when it began. */
class Watcher {
  readonly #handle: CommandHandle
  readonly #lines: AsyncIterator<string>

  constructor(handle: CommandHandle) {
    this.#handle = handle
    this.#lines = linesOf(handle)
  }

  static async start(box: Sandbox): Promise<Watcher> {
    const program = readFileSync(new URL('programs/watcher.py', import.meta.url))
    await box.files.write('/opt/watcher.py', program)
    const watcher = new Watcher(await box.commands.start(['python3', '/opt/watcher.py']))
    expect((await watcher.#lines.next()).value).toBe('ready')
    return watcher
  }

  async in(kid: Sandbox): Promise<Watcher> {
    return new Watcher(await kid.commands.connect(this.#handle.process))
  }

  /** It has looked twice, and seen nothing. */
  async expectNothing(): Promise<void> {
    for (let i = 0; i < 2; i++) expect((await this.#lines.next()).value).toBe('.')
  }
}

it('sees neither templates nor what is made of them, by whatever /proc tells', {
  timeout: 600_000,
}, async () => {
  const box = await Sandbox.create({ client: the.client })
  const ledger = await Ledger.start(box)
  await Victim.start(box, 'tree.py')
  const watcher = await Watcher.start(box)
  for (let round = 0; round < ROUNDS; round++) {
    const checkpoint = await box.checkpoint()
    await ledger.add()
    await watcher.expectNothing()
    const kids = await checkpoint.fork(2)
    for (const kid of kids) await (await watcher.in(kid)).expectNothing()
    await box.rollback(checkpoint)
    await watcher.expectNothing()
    for (const kid of kids) await kid.kill()
  }
  await box.kill({ checkpoints: true })
})

it('cannot end a checkpoint by killing everything', async () => {
  const box = await Sandbox.create({ client: the.client })
  let ledger = await Ledger.start(box)
  const family = new Family(the.daemon, box.id)
  for (let round = 0; round < ROUNDS; round++) {
    await ledger.add()
    const [checkpoint] = await Promise.all([box.checkpoint(), box.commands.run('true')])
    const told = await ledger.tell()
    // Some of the templates are still being built.
    const kill = await box.commands.run('kill -9 -1; echo done')
    expect(kill.stdout).toBe('done\n')
    await expect(ledger.tell()).rejects.toThrow(
      /has ended|does not read standard input|no longer reads its standard input/,
    )
    expect(family.templates().length).toBeGreaterThan(0)
    expect((await box.rollback(checkpoint)).source).toBe('template')
    ledger = await ledger.in(box)
    expect(await ledger.tell()).toBe(told)
  }
  await box.kill({ checkpoints: true })
})

const REACH = `
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
PTRACE_SEIZE = 0x4206
reached = set()
for pid in range(1, 70000):
    try:
        os.kill(pid, 0)
        reached.add(pid)
    except ProcessLookupError:
        pass
    if libc.ptrace(PTRACE_SEIZE, pid, 0, 0) == 0 or ctypes.get_errno() != errno.ESRCH:
        reached.add(pid)
print(*sorted(reached))
print(*sorted(int(tid) for pid in os.listdir("/proc") if pid.isdigit() for tid in os.listdir(f"/proc/{pid}/task")))
`

it('reaches by signal and ptrace only what it sees', async () => {
  const box = await Sandbox.create({ client: the.client })
  await Ledger.start(box)
  for (let i = 0; i < 3; i++) await box.checkpoint()
  await box.files.write('/opt/reach.py', REACH)
  const { stdout } = await box.commands.run(['python3', '/opt/reach.py'])
  const [reached, seen] = stdout.split('\n')
  expect(reached).toBe(seen)
  await box.kill({ checkpoints: true })
})

// A sanitizer keeps what is allocated elsewhere.
it.skipIf(process.env.ASAN_OPTIONS)('has an init that knows nothing of what the engine does', async () => {
  const box = await Sandbox.create({ client: the.client })
  const ledger = await Ledger.start(box)
  for (let i = 0; i < 3; i++) {
    await ledger.add()
    await box.rollback(await box.checkpoint())
  }
  const family = new Family(the.daemon, box.id)
  const inits = family.members().filter(({ command }) => command === 'deltabox-init')
  expect(inits.length).toBeGreaterThan(0)
  const heapOf = (pid: number): number => {
    if (!existsSync(`/proc/${pid}`)) return 0
    const heap = /\[heap\]\n(?:.*\n)*?Rss: +(\d+) kB/.exec(readFileSync(`/proc/${pid}/smaps`, 'utf8'))
    return Number(heap?.[1] ?? 0)
  }
  expect(heapOf(family.engine)).toBeGreaterThan(256)
  for (const { pid } of inits) await expect.poll(() => heapOf(pid)).toBeLessThan(64)
  await box.kill({ checkpoints: true })
})

it('has nothing in common with others that were made of the same checkpoint', async () => {
  const box = await Sandbox.create({ client: the.client })
  const ledger = await Ledger.start(box)
  await ledger.add()
  const checkpoint = await box.checkpoint()
  const kids = await checkpoint.fork(3)
  const all = [ledger, ...(await Promise.all(kids.map((kid) => ledger.in(kid))))]
  const counts = all.map(() => 1)
  for (let round = 0; round < ROUNDS; round++) {
    for (const [index, one] of all.entries()) {
      if (round % (index + 1) === 0) counts[index] = Number(await one.add())
    }
    expect(await Promise.all(all.map((one) => one.tell()))).toEqual(counts.map(String))
  }
  expect(counts).toEqual([1, 2, 3, 4].map((each) => 1 + Math.ceil(ROUNDS / each)))
  await box.rollback(checkpoint)
  expect(await ledger.tell()).toBe('1')
  expect(await Promise.all(all.slice(1).map((one) => one.tell()))).toEqual(counts.slice(1).map(String))
  for (const kid of [...kids, box]) await kid.kill({ checkpoints: true })
})
