/** Open files of a process that runs on through a checkpoint. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { frozenFile, useStage } from './support/stage.js'

const stage = useStage()

describe('what is written by an old descriptor', () => {
  it('lands in the new layer, and the frozen one stays as it was', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      write_file("f", b"first second")
      fd = os.open("f", os.O_RDWR)
      os.lseek(fd, 6, 0)`)
    const { layer } = await scene.quietCheckpoint()
    expect(await py.do('os.write(fd, b"THIRD"); os.pread(fd, 99, 0)')).toBe('first THIRDd')
    expect(await py.do('read_file("f")')).toBe('first THIRDd')
    expect(frozenFile(layer, 'srv/f')).toBe('first second')
    expect(frozenFile(scene.layers.head, 'srv/f')).toBe('first THIRDd')
  })

  it('of a file of the base that is opened for writing lands there too, at every checkpoint', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    const before = await py.do('read_file("/etc/services")')
    await py.do(
      'fd = os.open("/etc/services", os.O_WRONLY | os.O_APPEND); reader = os.open("/etc/services", 0)',
    )
    const layers: string[] = []
    for (const word of ['one', 'two', 'three']) {
      layers.push((await scene.quietCheckpoint()).layer)
      await py.do(`os.write(fd, b"${word}\\n")`)
    }
    expect(layers.map((layer) => frozenFile(layer, 'etc/services').slice(before.length))).toEqual([
      '',
      'one\n',
      'one\ntwo\n',
    ])
    expect(await py.do('os.pread(reader, 1 << 20, 0)')).toBe(`${before}one\ntwo\nthree\n`)
  })

  it('of a workspace lands there too, and the host keeps its own', async () => {
    const work = mkdtempSync(path.join(tmpdir(), 'dbx-'))
    try {
      writeFileSync(path.join(work, 'f'), 'of the host')
      const scene = await stage.scene({ workspace: work })
      const py = await scene.python({ cwd: work })
      await py.do(`
        fd = os.open("f", os.O_RDWR)
        os.write(fd, b"OF")
        new = os.open("new", os.O_RDWR | os.O_CREAT)
        root = os.open("/srv/f", os.O_RDWR | os.O_CREAT)`)
      const { layer } = await scene.quietCheckpoint()
      await py.do('for each in fd, new, root: os.write(each, b"!")')
      expect(await py.do('[read_file(name) for name in ("f", "new", "/srv/f")]')).toEqual([
        'OF!the host',
        '!',
        '!',
      ])
      expect(readFileSync(`${layer}/fs1/upper/f`, 'utf8')).toBe('OF the host')
      expect(readFileSync(path.join(work, 'f'), 'utf8')).toBe('of the host')
    } finally {
      rmSync(work, { recursive: true })
    }
  })

  it('with O_APPEND goes to the end, also of what others have appended', async () => {
    const scene = await stage.scene()
    const [one, two] = [await scene.python(), await scene.python()]
    for (const py of [one, two]) await py.do('fd = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)')
    const { layer } = await scene.quietCheckpoint()
    await one.do('os.write(fd, b"1")')
    await two.do('os.write(fd, b"2")')
    await scene.quietCheckpoint()
    await one.do('os.lseek(fd, 0, 0); os.write(fd, b"3")')
    await scene.sh('echo -n 4 >> /srv/log')
    await two.do('os.write(fd, b"5")')
    expect(await scene.sh('cat /srv/log')).toBe('12345')
    expect(frozenFile(layer, 'srv/log')).toBe('')
  })

  it('of a file that its owner may not open again lands there too', async () => {
    const scene = await stage.scene()
    await scene.sh('mkdir -m 777 /srv/open')
    const py = await scene.python({ user: 'nobody', cwd: '/srv/open' })
    await py.do(`
      fd = os.open("f", os.O_RDWR | os.O_CREAT)
      os.write(fd, b"before")
      os.chmod("f", 0)`)
    await scene.sh('mkdir -m 700 /srv/closed; mv /srv/open/f /srv/closed')
    await scene.quietCheckpoint()
    expect(await py.do('os.write(fd, b" after"); os.pread(fd, 99, 0)')).toBe('before after')
    expect(await scene.sh('stat -c "%A %U" /srv/closed/f; cat /srv/closed/f')).toBe(
      '---------- nobody\nbefore after',
    )
  })

  it('goes to the file that was renamed, before the checkpoint and after it', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      os.makedirs("d/e")
      write_file("d/e/f", b"0")
      fd = os.open("d/e/f", os.O_RDWR | os.O_APPEND)
      os.rename("d/e/f", "d/e/g")
      os.rename("d", "moved")`)
    await scene.quietCheckpoint()
    await py.do('os.write(fd, b"1"); os.rename("moved/e/g", "h")')
    await scene.quietCheckpoint()
    await py.do('os.write(fd, b"2"); os.rename("moved/e", "e")')
    expect(await py.do('read_file("h")')).toBe('012')
  })

  it('goes to a file under a directory of the base that was renamed', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      fd = os.open("/usr/share/misc/../perl5/f", os.O_RDWR | os.O_CREAT | os.O_APPEND)
      os.write(fd, b"0")
      os.rename("/usr/share/perl5", "/usr/share/moved")`)
    await scene.quietCheckpoint()
    await py.do('os.write(fd, b"1"); os.rename("/usr/share/moved", "/usr/share/again")')
    await scene.quietCheckpoint()
    await py.do('os.write(fd, b"2")')
    expect(await py.do('read_file("/usr/share/again/f")')).toBe('012')
  })
})

describe('an open file that is deleted', () => {
  it('before the checkpoint stays private to its holder, and its path stays free', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do('fd = os.open("f", os.O_RDWR | os.O_CREAT); os.write(fd, b"kept"); os.unlink("f")')
    const { layer } = await scene.quietCheckpoint()
    expect(await py.do('os.write(fd, b" and more"); os.pread(fd, 99, 0)')).toBe('kept and more')
    expect(await py.do('[os.fstat(fd).st_nlink, os.fstat(fd).st_size, os.path.exists("f")]')).toEqual([
      0,
      13,
      false,
    ])
    await scene.sh('touch /srv/other')
    await scene.quietCheckpoint()
    expect(await py.do('os.ftruncate(fd, 4); os.pread(fd, 99, 0)')).toBe('kept')
    expect(await scene.sh('ls /srv')).toBe('other\n')
    expect(existsSync(`${layer}/fs0/upper/srv/f`)).toBe(false)
  })

  it('of the base before the checkpoint can still be read', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    const content = await py.do(`
      fd = os.open("/etc/services", os.O_RDONLY)
      os.unlink("/etc/services")
      os.pread(fd, 1 << 20, 0)`)
    await scene.quietCheckpoint()
    expect(await py.do('os.pread(fd, 1 << 20, 0)')).toBe(content)
    expect(await py.do('os.path.exists("/etc/services")')).toBe(false)
  })

  it('after the checkpoint is in the frozen layer only', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do('fd = os.open("f", os.O_RDWR | os.O_CREAT | os.O_APPEND); os.write(fd, b"0")')
    const { layer } = await scene.quietCheckpoint()
    await py.do('os.write(fd, b"1"); os.unlink("f"); os.write(fd, b"2")')
    await scene.quietCheckpoint()
    expect(await py.do('os.write(fd, b"3"); os.pread(fd, 99, 0)')).toBe('0123')
    expect(await scene.sh('ls /srv')).toBe('')
    expect(frozenFile(layer, 'srv/f')).toBe('0')
  })

  it.each([
    ['made anew', 'os.unlink("f"); write_file("f", b"new")'],
    ['taken by another file', 'write_file("g", b"new"); os.rename("g", "f")'],
  ])('never overwrites its path that was %s, before or after the checkpoint', async (_how, replace) => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      before = os.open("f", os.O_RDWR | os.O_CREAT)
      os.write(before, b"first")
      ${replace}
      after = os.open("f", os.O_RDWR)`)
    await scene.quietCheckpoint()
    await py.do(`${replace.replace('b"new"', 'b"newer"')}`)
    await scene.quietCheckpoint()
    await py.do('os.pwrite(before, b"F", 0); os.pwrite(after, b"N", 0)')
    expect(await py.do('[os.pread(before, 9, 0), os.pread(after, 9, 0), read_file("f")]')).toEqual([
      'First',
      'New',
      'newer',
    ])
    expect(await py.do('[os.fstat(fd).st_nlink for fd in (before, after)]')).toEqual([0, 0])
  })

  it('after a directory took its path is still a file', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      fd = os.open("f", os.O_RDWR | os.O_CREAT)
      os.write(fd, b"file")
      os.unlink("f")
      os.mkdir("f")
      write_file("f/inside", b"x")`)
    await scene.quietCheckpoint()
    expect(await py.do('[os.pread(fd, 9, 0), os.listdir("f")]')).toEqual(['file', ['inside']])
  })

  it('with its directory stays private to its holder', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      os.makedirs("d/e")
      fd = os.open("d/e/f", os.O_RDWR | os.O_CREAT)
      os.write(fd, b"kept")
      os.unlink("d/e/f")
      os.removedirs("d/e")
      os.makedirs("d/e")`)
    await scene.quietCheckpoint()
    expect(await py.do('[os.pread(fd, 9, 0), os.listdir("d/e")]')).toEqual(['kept', []])
  })
})

describe('the kind of a descriptor', () => {
  it('is kept: access, status flags, close-on-exec, also where they were set later', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    const held = await py.do(`
      write_file("f", b"x" * 4096)
      kinds = [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_APPEND, os.O_RDWR | os.O_NONBLOCK,
               os.O_RDWR | os.O_SYNC, os.O_RDWR | os.O_DSYNC, os.O_RDONLY | os.O_NOATIME, os.O_RDONLY | os.O_NOFOLLOW,
               os.O_RDWR | os.O_CREAT | os.O_TRUNC, os.O_WRONLY | os.O_DIRECT]
      fds = [os.open("f", kind) for kind in kinds]
      fcntl.fcntl(fds[0], fcntl.F_SETFL, os.O_NONBLOCK)
      fcntl.fcntl(fds[3], fcntl.F_SETFL, 0)
      for fd in fds[::2]: os.set_inheritable(fd, True)
      flags = lambda: [(fcntl.fcntl(fd, fcntl.F_GETFL), fcntl.fcntl(fd, fcntl.F_GETFD)) for fd in fds]
      flags()`)
    await scene.quietCheckpoint()
    expect(await py.do('flags()')).toEqual(held)
    expect(await py.do('failure(os.write, fds[0], b"x")')).toBe('EBADF')
    expect(await py.do('failure(os.read, fds[1], 1)')).toBe('EBADF')
    expect(await py.do('read_file("f")')).toBe('')
  })

  it('is kept per descriptor where several share a file', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      fd = os.open("f", os.O_RDWR | os.O_CREAT)
      os.dup2(fd, 100, inheritable=True)
      os.dup2(fd, 200, inheritable=False)
      os.dup2(fd, 19, inheritable=True)`)
    await scene.quietCheckpoint()
    expect(await py.do('[os.get_inheritable(each) for each in (fd, 19, 100, 200)]')).toEqual([
      false,
      true,
      true,
      false,
    ])
    await py.do('os.write(fd, b"12"); os.write(100, b"34"); os.write(200, b"56")')
    expect(await py.do('[os.lseek(19, 0, os.SEEK_CUR), read_file("f")]')).toEqual([6, '123456'])
  })

  it('is kept where it names a file, a link or a directory without opening it', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      os.mkdir("d"); write_file("d/f", b"content"); os.symlink("f", "d/link")
      file, link, d = (os.open(name, os.O_PATH | flags) for name, flags in
                       (("d/f", 0), ("d/link", os.O_NOFOLLOW), ("d", os.O_DIRECTORY)))`)
    await scene.quietCheckpoint()
    expect(await py.do('read_file(f"/proc/self/fd/{file}")')).toBe('content')
    expect(await py.do('os.readlink("", dir_fd=link)')).toBe('f')
    await py.do('write_file(f"/proc/self/fd/{file}", b"other"); os.rename("d", "moved")')
    expect(await py.do('[read_file("moved/f"), os.listdir(f"/proc/self/fd/{d}")]')).toEqual([
      'other',
      ['f', 'link'],
    ])
    expect(await py.do('failure(os.read, file, 1)')).toBe('EBADF')
  })

  it('and its offset are shared by those who inherited it, and by nobody else', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      write_file("f", bytes(range(65, 91)))
      shared, own = os.open("f", os.O_RDWR), os.open("f", os.O_RDWR)
      os.read(shared, 2)
      to_child, go = os.pipe()
      back, from_child = os.pipe()
      if os.fork() == 0:
          os.read(to_child, 1)
          os.write(from_child, os.read(shared, 3) + os.read(own, 2))
          os._exit(0)`)
    await scene.quietCheckpoint()
    expect(await py.do('os.write(go, b"x"); os.read(back, 9)')).toBe('CDEAB')
    expect(await py.do('os.wait(); [os.read(shared, 2), os.read(own, 2)]')).toEqual(['FG', 'CD'])
  })
})

describe('an unnamed file (O_TMPFILE)', () => {
  it('keeps its bytes and can be written', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do('write_file("f", b""); fd = os.open(".", os.O_TMPFILE | os.O_RDWR); os.write(fd, b"before")')
    await scene.quietCheckpoint()
    expect(await py.do('os.write(fd, b" after"); os.pread(fd, 99, 0)')).toBe('before after')
    expect(await py.do('[os.fstat(fd).st_nlink, os.listdir(".")]')).toEqual([0, ['f']])
  })

  it.each(['write', 'only read'])(
    'can be given a name afterwards, also where it was %s in between',
    async (how) => {
      const scene = await stage.scene()
      const py = await scene.python()
      await py.do(
        'write_file("f", b""); fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o640); os.write(fd, b"before")',
      )
      await scene.quietCheckpoint()
      if (how === 'write') await py.do('os.write(fd, b"!")')
      await py.do('link_fd(fd, "named"); os.write(fd, b" after")')
      const expected = how === 'write' ? 'before! after' : 'before after'
      expect(
        await py.do('[read_file("named"), oct(os.stat("named").st_mode), os.fstat(fd).st_nlink]'),
      ).toEqual([expected, '0o100640', 1])
      await scene.checkpoint()
      expect(await py.do('os.write(fd, b"."); read_file("named")')).toBe(`${expected}.`)
    },
  )

  it('is one file by all its descriptors and in memory', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
        write_file("f", b"")
        fd = os.open(".", os.O_TMPFILE | os.O_RDWR)
        os.write(fd, b"before")
        other = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_APPEND)
        memory = mmap.mmap(fd, 6)`)
    await scene.quietCheckpoint()
    await py.do('os.write(fd, b" 1"); os.write(other, b" 2"); memory[0:1] = b"B"')
    expect(await py.do('[os.pread(fd, 99, 0), os.pread(other, 99, 0), memory[:6] + b" 1 2"]')).toEqual(
      Array(3).fill('Before 1 2'),
    )
  })
})

describe('many open files', () => {
  it('are 1000 of one process, each with its offset', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      os.mkdir("d")
      fds = [os.open(f"d/{i}", os.O_RDWR | os.O_CREAT | (os.O_APPEND if i % 3 == 0 else 0)) for i in range(1000)]
      for i, fd in enumerate(fds): os.write(fd, b"%d " % i)`)
    const { checkpoint } = await scene.quietCheckpoint()
    expect(checkpoint.files).toBeGreaterThanOrEqual(1000)
    await py.do('for i, fd in enumerate(fds): os.write(fd, b"%d" % -i)')
    expect(await py.do('[i for i in range(1000) if read_file(f"d/{i}") != b"%d %d" % (i, -i)]')).toEqual([])
  })

  it('are as many as the soft limit allows', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      import resource
      fds = [os.open("f", os.O_RDWR | os.O_CREAT) for i in range(40)]
      resource.setrlimit(resource.RLIMIT_NOFILE, (len(fds) + 3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))`)
    expect(await py.do('failure(os.dup, 0)')).toBe('EMFILE')
    await scene.quietCheckpoint()
    expect(await py.do('failure(os.dup, 0)')).toBe('EMFILE')
    await py.do('for i, fd in enumerate(fds): os.pwrite(fd, b"x", i)')
    expect(await py.do('os.pread(fds[0], 99, 0)')).toBe('x'.repeat(40))
  })

  it('are as many as the hard limit allows, where the engine may lift it; else the limit is named', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      import resource
      fds = [os.open("f", os.O_RDWR | os.O_CREAT) for i in range(40)]
      resource.setrlimit(resource.RLIMIT_NOFILE, (len(fds) + 3, len(fds) + 3))`)
    const census = await scene.quietCensus()
    if (mayLiftLimits()) {
      await scene.quietCheckpoint()
    } else {
      await expect(scene.checkpoint()).rejects.toMatchObject({
        code: 'checkpoint_refused',
        details: {
          objects: [
            {
              pid: py.handle.pid,
              command: 'python3',
              object: 'RLIMIT_NOFILE',
              reason: 'it has as many descriptors open as it may have',
            },
          ],
        },
      })
    }
    expect(await scene.quietCensus()).toEqual(census)
    await py.do('for i, fd in enumerate(fds): os.pwrite(fd, b"x", i)')
    expect(await py.do('os.pread(fds[0], 99, 0)')).toBe('x'.repeat(40))
  })

  it('that the limit no longer allows stay open', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      import resource
      fds = [os.open("f", os.O_RDWR | os.O_CREAT) for i in range(40)]
      resource.setrlimit(resource.RLIMIT_NOFILE, (10, 100))`)
    await scene.quietCheckpoint()
    await py.do('for i, fd in enumerate(fds): os.pwrite(fd, b"x", i)')
    expect(await py.do('os.pread(fds[39], 99, 0)')).toBe('x'.repeat(40))
  })
})

describe('a descriptor that was sent to another process', () => {
  const pair = `
    here, there = socket.socketpair()
    orders, order = os.pipe()
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"0")
    if os.fork() == 0:
        os.close(fd)
        here.close()
        os.read(orders, 1)
        fd, = receive_fds(there)
        os.write(fd, b"1")
        there.send(b"s")
        os.read(orders, 1)
        os.write(fd, b"3")
        there.send(b"s")
        os._exit(0)
    there.close()
    def next_step(): os.write(order, b"x"); here.recv(1)`
  const GO_ON = 'os.write(fd, b"2"); next_step(); os.write(fd, b"4"); read_file("f")'

  it('shares its offset with the sender', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(pair)
    await py.do('send_fds(here, fd); next_step()')
    await scene.quietCheckpoint()
    expect(await py.do(GO_ON)).toBe('01234')
  })

  it('and arrives while the checkpoint is asked for is waited for', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(pair)
    await py.do('send_fds(here, fd)')
    const checkpoint = scene.checkpoint()
    await py.do('next_step()')
    await checkpoint
    expect(await py.do(GO_ON)).toBe('01234')
  })

  it('and does not arrive is an obstacle that is named, and it arrives later', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(pair)
    await py.do('send_fds(here, fd)')
    await expect(scene.checkpoint()).rejects.toMatchObject({
      code: 'checkpoint_refused',
      details: {
        objects: [
          {
            pid: expect.any(Number),
            command: 'python3',
            object: expect.stringMatching(/^descriptor \d+ \(socket:\[\d+\]\)$/),
            reason: 'descriptors that nobody has received yet are on their way through it',
          },
        ],
      },
    })
    await py.do('next_step()')
    await scene.quietCheckpoint()
    expect(await py.do(GO_ON)).toBe('01234')
  })
})

/** CAP_SYS_RESOURCE */
function mayLiftLimits(): boolean {
  const [, capabilities = ''] = /^CapEff:\t(.*)$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
  return ((BigInt(`0x${capabilities}`) >> 24n) & 1n) === 1n
}
