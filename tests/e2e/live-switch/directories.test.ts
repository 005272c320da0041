/** Directories that a process has open, stands in, or has for its root. */
import { describe, expect, it } from 'vitest'
import { useStage } from './support/stage.js'

const stage = useStage()

/** Reads a directory as getdents64 does, some entries at a time. */
const READER = `
  def entries(fd, size):
      """Names of the entries that one call returns."""
      buffer = ctypes.create_string_buffer(size)
      got = syscall(217, fd, buffer, size)
      names, at = [], 0
      while at < got:
          length = struct.unpack_from("<H", buffer, at + 16)[0]
          names.append(buffer.raw[at + 19:at + length].split(b"\\0")[0].decode())
          at += length
      return names

  def rest(fd):
      names = []
      while more := entries(fd, 4096): names += more
      return names`

describe('a directory descriptor', () => {
  it('finds what is made below it afterwards, by openat and by fchdir', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do('os.makedirs("d/e"); d = os.open("d", os.O_RDONLY | os.O_DIRECTORY)')
    await scene.quietCheckpoint()
    await py.do(`
      fd = os.open("new", os.O_RDWR | os.O_CREAT, dir_fd=d)
      os.write(fd, b"made")
      os.fchdir(d)
      write_file("e/f", b"below")`)
    expect(await scene.sh('cd /srv/d; cat new e/f')).toBe('madebelow')
    await scene.quietCheckpoint()
    expect(await py.do('[os.getcwd(), sorted(os.listdir(d))]')).toEqual(['/srv/d', ['e', 'new']])
  })

  it('follows a directory that was renamed, of the base too', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      os.makedirs("d/e")
      own = os.open("d/e", os.O_RDONLY); os.rename("d", "moved")
      base = os.open("/usr/share/doc", os.O_RDONLY); os.rename("/usr/share/doc", "/usr/share/papers")`)
    await scene.quietCheckpoint()
    await py.do(`
      for d in own, base: os.close(os.open("new", os.O_WRONLY | os.O_CREAT, dir_fd=d))`)
    expect(await scene.sh('ls /srv/moved/e /usr/share/papers/new')).toBe(
      '/usr/share/papers/new\n\n/srv/moved/e:\nnew\n',
    )
  })

  it('that was removed is empty and stays so', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      os.makedirs("d/e/f")
      fds = [os.open(name, os.O_RDONLY) for name in ("d/e/f", "d/e", "d")]
      os.removedirs("d/e/f")
      os.mkdir("d")`)
    await scene.quietCheckpoint()
    expect(await py.do('[os.listdir(fd) for fd in fds]')).toEqual([[], [], []])
    expect(await py.do('[failure(lambda: os.open("x", os.O_CREAT, dir_fd=fd)) for fd in fds]')).toEqual(
      Array(3).fill('ENOENT'),
    )
    expect(await py.do('[os.fstat(fd).st_nlink for fd in fds]')).toEqual([0, 0, 0])
    expect(await py.do('os.stat("..", dir_fd=fds[2]).st_ino == os.stat("/srv").st_ino')).toBe(true)
    expect(await scene.sh('ls -A /srv /srv/d')).toBe('/srv:\nd\n\n/srv/d:\n')
  })
})

describe('a directory that is being read', () => {
  /** What is read before the checkpoint and after it. */
  async function read(setUp: string, between: string): Promise<[first: string[], rest: string[]]> {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(READER)
    await py.do(setUp)
    const first = await py.do('d = os.open("/srv/d", os.O_RDONLY | os.O_DIRECTORY); entries(d, 2000)')
    await scene.quietCheckpoint()
    await py.do(between)
    return [first, await py.do('rest(d)')]
  }
  const names = (from: number, to: number): string[] =>
    Array.from({ length: to - from }, (_, i) => `entry-${from + i}`)
  const MANY = 'os.mkdir("d")\nfor i in range(3000): write_file(f"d/entry-{i}", b"")'

  it('goes on where it was: every entry comes once', async () => {
    const [first, rest] = await read(MANY, '')
    expect(first.length).toBeGreaterThan(10)
    expect([...first, ...rest].sort()).toEqual(['.', '..', ...names(0, 3000)].sort())
  })

  it('leaves out what was removed meanwhile, and nothing else', async () => {
    const [first, rest] = await read(MANY, 'for i in range(1000, 2000): os.unlink(f"d/entry-{i}")')
    const kept = ['.', '..', ...names(0, 1000), ...names(2000, 3000)]
    const seen = [...first, ...rest]
    expect(new Set(seen).size).toBe(seen.length)
    expect(kept.filter((name) => !seen.includes(name))).toEqual([])
  })

  it('goes on where it was when the entries that were read are removed one after the other', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(READER)
    await py.do(MANY)
    await py.do('d = os.open("/srv/d", os.O_RDONLY | os.O_DIRECTORY); seen = []')
    for (;;) {
      const some: string[] = await py.do(`
        some = [name for name in entries(d, 16000) if name[0] != "."]
        for name in some: os.unlink("d/" + name)
        seen += some
        some`)
      if (some.length === 0) break
      await scene.quietCheckpoint()
    }
    expect(await py.do('sorted(seen)')).toEqual(names(0, 3000).sort())
    expect(await py.do('os.listdir("d")')).toEqual([])
  })

  it('goes on where it was in a directory that several layers have a part of', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(READER)
    await py.do('os.mkdir("d")')
    for (let part = 0; part < 4; part++) {
      await py.do(`for i in range(${part * 500}, ${part * 500 + 500}): write_file(f"d/entry-{i}", b"")`)
      await scene.quietCheckpoint()
    }
    const first = await py.do(`
      for i in range(2000, 2500): write_file(f"d/entry-{i}", b"")
      d = os.open("d", os.O_RDONLY | os.O_DIRECTORY)
      entries(d, 20000)`)
    await scene.quietCheckpoint()
    const seen = [...first, ...(await py.do('rest(d)'))]
    expect(seen.sort()).toEqual(['.', '..', ...names(0, 2500)].sort())
  })

  it('of the base goes on where it was while entries are removed', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(READER)
    const expected = await py.do('sorted([".", ".."] + os.listdir("/usr/bin"))')
    const first: string[] = await py.do(`
      d = os.open("/usr/bin", os.O_RDONLY | os.O_DIRECTORY)
      first = entries(d, 4000)
      write_file("/usr/bin/a-new-one", b"")
      for name in first[-5:]: os.unlink("/usr/bin/" + name)
      first`)
    await scene.quietCheckpoint()
    const rest: string[] = await py.do('rest(d)')
    expect([...first, ...rest.filter((name) => name !== 'a-new-one')].sort()).toEqual(expected)
  })

  it('and was rewound, or read to its end, is so afterwards', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(READER)
    await py.do(`
      ${MANY.replace('\n', '\n      ')}
      rewound, ended = (os.open("d", os.O_RDONLY | os.O_DIRECTORY) for i in range(2))
      rest(rewound); os.lseek(rewound, 0, 0); rest(ended)`)
    await scene.quietCheckpoint()
    expect(await py.do('[len(rest(rewound)), rest(ended)]')).toEqual([3002, []])
    await py.do('os.lseek(ended, 0, 0)')
    expect(await py.do('len(rest(ended))')).toBe(3002)
  })
})

describe('the working directory', () => {
  it('is kept, and relative paths lead into the new layer', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do('os.makedirs("a/b"); os.chdir("a/b"); write_file("f", b"0")')
    await scene.quietCheckpoint()
    await py.do('write_file("f", b"1"); write_file("../g", b"2")')
    expect(await scene.sh('cat /srv/a/b/f /srv/a/g')).toBe('12')
    expect(await py.do('os.getcwd()')).toBe('/srv/a/b')
  })

  it('that was renamed by another is followed, before the checkpoint and after it', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do('os.makedirs("a/b/c"); os.chdir("a/b/c")')
    await scene.sh('mv /srv/a /srv/x')
    await scene.quietCheckpoint()
    await scene.sh('mv /srv/x/b /srv/b')
    await py.do('write_file("f", b"found")')
    expect(await scene.sh('cat /srv/b/c/f')).toBe('found')
    await scene.quietCheckpoint()
    expect(await py.do('os.getcwd()')).toBe('/srv/b/c')
  })

  it('that was removed is no directory any more, and the way up from it still leads on', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do('os.makedirs("a/b"); write_file("f", b"up"); os.chdir("a/b"); os.removedirs("/srv/a/b")')
    await scene.quietCheckpoint()
    expect(await py.do('failure(os.getcwd)')).toBe('ENOENT')
    expect(await py.do('failure(write_file, "x", b"")')).toBe('ENOENT')
    expect(await py.do('read_file("../../f")')).toBe('up')
    expect(await scene.sh('ls -A /srv')).toBe('f\n')
    await scene.sh('mkdir -p /srv/a/b')
    await scene.quietCheckpoint()
    expect(await py.do('failure(os.getcwd)')).toBe('ENOENT')
  })
})

describe('the root directory', () => {
  it('of a process that changed it is kept, with its working directory', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      os.makedirs("jail/a/b"); os.chroot("jail"); os.chdir("/a")
      write_file("/f", b"0")
      out = os.open("/f", os.O_WRONLY | os.O_APPEND)`)
    await scene.quietCheckpoint()
    expect(
      await py.do('[os.getcwd(), *(sorted(os.listdir(name)) for name in ("/", "..", "../../.."))]'),
    ).toEqual(['/a', ['a', 'f'], ['a', 'f'], ['a', 'f']])
    await py.do('os.write(out, b"1"); write_file("b/g", b"2")')
    expect(await scene.sh('cd /srv/jail; cat f a/b/g')).toBe('012')
    await scene.quietCheckpoint()
    expect(await py.do('[os.getcwd(), read_file("/f")]')).toEqual(['/a', '01'])
  })

  it('of a process whose working directory is outside of it is kept', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do('os.makedirs("jail/inside"); write_file("f", b"outside"); os.chroot("jail")')
    await scene.quietCheckpoint()
    expect(
      await py.do(
        '[os.listdir("/"), read_file("f"), read_file("/../f") if os.path.exists("/../f") else None]',
      ),
    ).toEqual([['inside'], 'outside', null])
    await py.do('os.chroot("."); os.chdir("/")')
    await scene.sh('touch /srv/g')
    await scene.quietCheckpoint()
    expect(await py.do('[sorted(os.listdir("/")), os.getcwd()]')).toEqual([['f', 'g', 'jail'], '/'])
  })
})
