/** File locks of the three kinds, held and waited for while a checkpoint is taken. */
import { describe, expect, it } from 'vitest'
import type { Interpreter } from './support/interpreter.js'
import { type Scene, useStage } from './support/stage.js'

const stage = useStage()

/** take() waits, try_take() tells the error, drop(): on the whole file `fd`, or on a range of it where the kind has any. */
const LOCKS = `
  F_OFD_SETLK, F_OFD_SETLKW, F_OFD_GETLK = 37, 38, 36
  RANGE = struct.Struct("hhxxxxqqi4x")
  def ofd(command, kind, start, length):
      fcntl.fcntl(fd, command, RANGE.pack(kind, 0, start, length, 0))
  kinds = {
      "flock": (lambda write, start, length, wait:
          fcntl.flock(fd, (fcntl.LOCK_EX if write else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB)),
          lambda start, length: fcntl.flock(fd, fcntl.LOCK_UN)),
      "POSIX": (lambda write, start, length, wait:
          fcntl.lockf(fd, (fcntl.LOCK_EX if write else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB), length, start),
          lambda start, length: fcntl.lockf(fd, fcntl.LOCK_UN, length, start)),
      "OFD": (lambda write, start, length, wait:
          ofd(F_OFD_SETLKW if wait else F_OFD_SETLK, fcntl.F_WRLCK if write else fcntl.F_RDLCK, start, length),
          lambda start, length: ofd(F_OFD_SETLK, fcntl.F_UNLCK, start, length)),
  }
  def take(write=True, start=0, length=0): lock(write, start, length, True)
  def try_take(write=True, start=0, length=0): return failure(lock, write, start, length, False)
  def drop(start=0, length=0): unlock(start, length)
  def use(kind):
      global lock, unlock
      lock, unlock = kinds[kind]`

const FLOCK = 73
const FCNTL = 72

interface Contest {
  readonly scene: Scene
  readonly one: Interpreter
  readonly two: Interpreter
  readonly three: Interpreter
}

/** Three processes that have the same file open. */
async function contest(kind: string): Promise<Contest> {
  const scene = await stage.scene()
  await scene.sh('echo 0123456789 > /srv/f')
  const enter = async (): Promise<Interpreter> => {
    const py = await scene.python()
    await py.do(LOCKS)
    await py.do(`use("${kind}"); fd = os.open("f", os.O_RDWR)`)
    return py
  }
  return { scene, one: await enter(), two: await enter(), three: await enter() }
}

describe.each([
  ['flock', FLOCK],
  ['POSIX', FCNTL],
  ['OFD', FCNTL],
] as const)('a lock of the kind %s', (kind, call) => {
  it('is held until it is let go', async () => {
    const { scene, one, two } = await contest(kind)
    await one.do('take()')
    await scene.quietCheckpoint()
    expect(await two.do('[try_take(), try_take(write=False)]')).toEqual(['EAGAIN', 'EAGAIN'])
    await scene.sh('touch /srv/other')
    await scene.quietCheckpoint()
    expect(await two.do('try_take()')).toBe('EAGAIN')
    await one.do('drop()')
    expect(await two.do('try_take()')).toBe(null)
    expect(await one.do('try_take()')).toBe('EAGAIN')
  })

  it('is held until its process ends', async () => {
    const { scene, one, two } = await contest(kind)
    await one.do('take()')
    await scene.quietCheckpoint()
    const taken = two.do('take()')
    await expect.poll(() => two.waitsIn()).toBe(call)
    await one.handle.kill()
    await taken
  })

  it('for reading is shared', async () => {
    const { scene, one, two, three } = await contest(kind)
    for (const py of [one, two]) await py.do('take(write=False)')
    await scene.quietCheckpoint()
    expect(await three.do('[try_take(write=False), drop(), try_take()]')).toEqual([null, null, 'EAGAIN'])
    await one.do('drop()')
    expect(await three.do('try_take()')).toBe('EAGAIN')
    await two.do('drop()')
    expect(await three.do('try_take()')).toBe(null)
  })

  it('that was waited for during checkpoints is got when it is let go, and not before', async () => {
    const { scene, one, two, three } = await contest(kind)
    await one.do('take()')
    let got = false
    const taken = two.do('take()').then(() => {
      got = true
    })
    await expect.poll(() => two.waitsIn()).toBe(call)
    for (let round = 0; round < 3; round++) {
      await scene.sh(`echo ${round} > /srv/other`)
      await scene.quietCheckpoint()
      expect([two.waitsIn(), got]).toEqual([call, false])
    }
    expect(await three.do('try_take()')).toBe('EAGAIN')
    await one.do('drop()')
    await taken
    expect(await three.do('try_take()')).toBe('EAGAIN')
    await two.do('drop()')
    expect(await three.do('try_take()')).toBe(null)
  })

  it('of a deleted file still keeps its holders apart', async () => {
    const { scene, one, two } = await contest(kind)
    await one.do('take(); os.unlink("f"); write_file("f", b"")')
    await scene.quietCheckpoint()
    expect(await two.do('try_take()')).toBe('EAGAIN')
    await one.do('drop()')
    expect(await two.do('try_take()')).toBe(null)
    expect(await one.do('fd = os.open("f", os.O_RDWR); try_take()')).toBe(null)
  })
})

describe.each(['POSIX', 'OFD'])('a lock on a range, of the kind %s', (kind) => {
  it('leaves the rest of the file free, each range with its own holder and mode', async () => {
    const { scene, one, two, three } = await contest(kind)
    await one.do('take(True, 0, 2); take(False, 4, 2); take(True, 8, 1); drop(1, 1)')
    await two.do('take(True, 2, 2); take(False, 4, 1); take(True, 1 << 40, 0)')
    await scene.quietCheckpoint()
    const state = await three.do(`[["w" if not failure(lambda: (take_now(True, at), drop(at, 1))) else
                                   "r" if not failure(lambda: (take_now(False, at), drop(at, 1))) else "-"
                                   for take_now in [lambda write, at: lock(write, at, 1, False)]][0]
                                  for at in (0, 1, 2, 3, 4, 5, 6, 8, 9, (1 << 40) - 1, 1 << 40, 1 << 50)]`)
    expect(state.join('')).toBe('-w--rrw-ww--')
    await one.do('drop()')
    expect(await three.do('[try_take(True, at, 1) for at in (0, 2, 4, 5, 8)]')).toEqual([
      null,
      'EAGAIN',
      'EAGAIN',
      null,
      null,
    ])
  })
})

it('a POSIX lock tells whose it is', async () => {
  const { scene, one, two } = await contest('POSIX')
  await one.do('take(True, 3, 4)')
  await scene.quietCheckpoint()
  const asked = await two.do(`
    RANGE.unpack(fcntl.fcntl(fd, 5, RANGE.pack(fcntl.F_WRLCK, 0, 0, 0, 0)))  # F_GETLK`)
  expect(asked).toEqual([1, 0, 3, 4, one.handle.pid])
})

it('a POSIX lock is lost with any descriptor of its file that its process closes, as ever', async () => {
  const { scene, one, two } = await contest('POSIX')
  await one.do('other = os.open("f", os.O_RDONLY); take()')
  await scene.quietCheckpoint()
  expect(await two.do('try_take()')).toBe('EAGAIN')
  await one.do('os.close(other)')
  expect(await two.do('try_take()')).toBe(null)
})

it.each(['flock', 'OFD'])('a lock of the kind %s belongs to all who share the open file', async (kind) => {
  const { scene, one, two } = await contest(kind)
  await one.do(`
    take()
    orders, order = os.pipe()
    if os.fork() == 0:
        os.close(order)
        os.read(orders, 1)
        os._exit(0)`)
  await scene.quietCheckpoint()
  await one.do('os.close(fd)')
  expect(await two.do('try_take()')).toBe('EAGAIN')
  const taken = two.do('take()')
  await one.do('os.write(order, b"x"); os.wait()')
  await taken
})

it('a lock on a file of the base that is only read is held too', async () => {
  const { scene, one, two } = await contest('flock')
  for (const py of [one, two]) await py.do('fd = os.open("/etc/services", os.O_RDONLY)')
  await one.do('take()')
  await scene.quietCheckpoint()
  expect(await two.do('try_take()')).toBe('EAGAIN')
  await scene.sh('echo more >> /etc/services')
  await scene.quietCheckpoint()
  expect(await two.do('try_take()')).toBe('EAGAIN')
  await one.do('drop()')
  expect(await two.do('try_take()')).toBe(null)
})

it('a lease is an obstacle that is named', async () => {
  const scene = await stage.scene()
  const py = await scene.python()
  await py.do(`
    F_SETLEASE, F_GETLEASE = 1024, 1025
    write_file("f", b"")
    fd = os.open("f", os.O_RDONLY)
    fcntl.fcntl(fd, F_SETLEASE, fcntl.F_RDLCK)`)
  await expect(scene.checkpoint()).rejects.toMatchObject({
    code: 'checkpoint_refused',
    details: {
      objects: [
        {
          pid: py.handle.pid,
          command: 'python3',
          object: expect.stringMatching(/^descriptor \d+ \(\/srv\/f\)$/),
          reason: 'it has a lease or a lock of an unknown kind',
        },
      ],
    },
  })
  expect(await py.do('fcntl.fcntl(fd, F_GETLEASE) == fcntl.F_RDLCK')).toBe(true)
  await py.do('fcntl.fcntl(fd, F_SETLEASE, fcntl.F_UNLCK)')
  await scene.quietCheckpoint()
})
