/** Files that a process has in its memory. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { Interpreter } from './support/interpreter.js'
import { frozenFile, useStage } from './support/stage.js'

const stage = useStage()

/** What the kernel knows of the mappings of a file: protection, offset, locking, advice. */
function mappingsOf(py: Interpreter, name: string): string[] {
  const smaps = readFileSync(`/proc/${py.hostPid}/smaps`, 'utf8')
  const found = smaps.matchAll(
    /^([\da-f]+-[\da-f]+ \S+ \S+) \S+ \d+ +(\S+)\n(?:(?!VmFlags).*\n)*VmFlags: (.*)$/gm,
  )
  return [...found].filter(([, , path]) => path === name).map(([, range, , flags]) => `${range} ${flags}`)
}

describe('a shared mapping', () => {
  it('that is written lands in the new layer, and the frozen one stays as it was', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      write_file("f", b"a" * 10000)
      fd = os.open("f", os.O_RDWR)
      memory = mmap.mmap(fd, 0)
      memory[0:1] = b"b"`)
    const { layer } = await scene.quietCheckpoint()
    await py.do('memory[1:2] = b"c"; memory[9999:] = b"d"')
    expect(await py.do('[os.pread(fd, 3, 0), os.pread(fd, 9, 9998)]')).toEqual(['bca', 'ad'])
    expect(await py.do('os.pwrite(fd, b"e", 5000); memory[4999:5002]')).toBe('aea')
    expect(frozenFile(layer, 'srv/f')).toBe(`b${'a'.repeat(9999)}`)
    await py.do('memory.flush()')
    expect(frozenFile(scene.layers.head, 'srv/f')).toBe(`bc${'a'.repeat(4998)}e${'a'.repeat(4998)}d`)
  })

  it('goes on being the file when no descriptor is left, and when the process is killed', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      write_file("f", b"." * 5000)
      fd = os.open("f", os.O_RDWR)
      memory = mmap.mmap(fd, 0, trackfd=False) if sys.version_info >= (3, 13) else mmap.mmap(fd, 0)
      os.closerange(3, 100)`)
    await scene.quietCheckpoint()
    await py.do('memory[0:1] = b"1"')
    await scene.quietCheckpoint()
    await py.do('memory[4999:5000] = b"2"')
    await py.handle.kill()
    expect(await scene.sh('head -c 2 /srv/f; tail -c 2 /srv/f')).toBe('1..2')
  })

  it('is one memory for all who have it: by their own opening, and inherited', async () => {
    const scene = await stage.scene()
    const [one, two] = [await scene.python(), await scene.python()]
    await one.do('write_file("f", b"." * 4096)')
    for (const py of [one, two]) await py.do('memory = mmap.mmap(os.open("f", os.O_RDWR), 0)')
    await one.do(`
      orders, order = os.pipe()
      done, finish = os.pipe()
      if os.fork() == 0:
          os.read(orders, 1)
          memory[2:3] = b"3"
          os.write(finish, b"x")
          os._exit(0)`)
    await scene.quietCheckpoint()
    await one.do('memory[0:1] = b"1"; os.write(order, b"x"); os.read(done, 1)')
    await two.do('memory[1:2] = b"2"')
    expect(await one.do('memory[0:4]')).toBe('123.')
    expect(await two.do('memory[0:4]')).toBe('123.')
    expect(await scene.sh('head -c 4 /srv/f')).toBe('123.')
  })

  it('that is only read shows what others write afterwards', async () => {
    const scene = await stage.scene()
    const [reader, writer] = [await scene.python(), await scene.python()]
    await writer.do('write_file("f", b"." * 4096); fd = os.open("f", os.O_RDWR)')
    await reader.do('memory = mmap.mmap(os.open("f", os.O_RDONLY), 0, prot=mmap.PROT_READ)')
    await scene.quietCheckpoint()
    await writer.do('os.pwrite(fd, b"1", 0)')
    await scene.sh('printf 2 | dd of=/srv/f bs=1 seek=1 conv=notrunc status=none')
    expect(await reader.do('memory[0:3]')).toBe('12.')
    await scene.quietCheckpoint()
    await writer.do('os.pwrite(fd, b"3", 2)')
    expect(await reader.do('memory[0:4]')).toBe('123.')
  })

  it('keeps its place, protection, offset, lock and advice', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      write_file("f", bytes(65536))
      fd = os.open("f", os.O_RDWR)
      whole = mmap.mmap(fd, 0)
      part = mmap.mmap(fd, 8192, offset=16384)
      tail = mmap.mmap(fd, 4096, offset=61440, prot=mmap.PROT_READ)
      address = lambda memory: ctypes.addressof(ctypes.c_char.from_buffer(memory))
      at = address(whole)
      results = [LIBC.mprotect(ctypes.c_void_p(at + 4096), 4096, mmap.PROT_READ),
                 LIBC.mlock(ctypes.c_void_p(at + 8192), 4096),
                 LIBC.madvise(ctypes.c_void_p(at + 32768), 8192, 10),   # MADV_DONTFORK
                 LIBC.madvise(ctypes.c_void_p(at + 45056), 4096, 1),    # MADV_RANDOM
                 LIBC.madvise(ctypes.c_void_p(at + 53248), 4096, 16)]   # MADV_DONTDUMP`)
    expect(await py.do('results')).toEqual([0, 0, 0, 0, 0])
    const before = mappingsOf(py, '/srv/f')
    expect(before.length).toBeGreaterThan(7)
    await scene.quietCheckpoint()
    expect(mappingsOf(py, '/srv/f')).toEqual(before)
    await py.do(
      'part[0:1] = b"p"; whole[60000:60001] = b"w"; LIBC.mprotect(ctypes.c_void_p(at + 4096), 4096, 3)',
    )
    await py.do('whole[5000:5001] = b"m"')
    expect(await py.do('[os.pread(fd, 1, at) for at in (16384, 60000, 5000)]')).toEqual(['p', 'w', 'm'])
  })

  it('follows the length of its file', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      write_file("f", b"x" * 4096)
      fd = os.open("f", os.O_RDWR)
      os.ftruncate(fd, 8192)
      memory = mmap.mmap(fd, 8192)
      os.ftruncate(fd, 4096)`)
    await scene.quietCheckpoint()
    await py.do('os.ftruncate(fd, 8192); memory[8000:8001] = b"y"')
    expect(await py.do('[os.pread(fd, 1, 8000), os.fstat(fd).st_size]')).toEqual(['y', 8192])
    await scene.quietCheckpoint()
    await py.do('memory.resize(16384); memory[16000:16001] = b"z"')
    expect(await py.do('[os.pread(fd, 1, 16000), os.fstat(fd).st_size]')).toEqual(['z', 16384])
  })

  it('of a deleted file stays with those who have it', async () => {
    const scene = await stage.scene()
    const [one, two] = [await scene.python(), await scene.python()]
    await one.do('write_file("f", b"." * 4096)')
    for (const py of [one, two]) await py.do('memory = mmap.mmap(os.open("f", os.O_RDWR), 0)')
    await one.do('os.unlink("f"); write_file("f", b"new")')
    const { layer } = await scene.quietCheckpoint()
    await one.do('memory[0:1] = b"1"')
    expect(await two.do('[memory[0:2], read_file("f")]')).toEqual(['1.', 'new'])
    expect(frozenFile(layer, 'srv/f')).toBe('new')
  })

  it('of a renamed file, of the base and of a workspace is moved too', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      write_file("f", b"." * 4096)
      renamed = mmap.mmap(os.open("f", os.O_RDWR), 0)
      os.mkdir("d"); os.rename("f", "d/g"); os.rename("d", "e")
      base = mmap.mmap(os.open("/etc/services", os.O_RDWR), 0)`)
    await scene.quietCheckpoint()
    await py.do('renamed[0:1] = b"1"; base[0:1] = b"2"')
    expect(await scene.sh('head -c 1 /srv/e/g; head -c 1 /etc/services')).toBe('12')
  })

  it('is one of 600 in a process', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      write_file("f", bytes(4096 * 600))
      fd = os.open("f", os.O_RDWR)
      memories = [mmap.mmap(fd, 4096, offset=4096 * ((i * 7) % 600)) for i in range(600)]`)
    await scene.quietCheckpoint()
    await py.do('for i, memory in enumerate(memories): memory[0:3] = b"%03d" % i')
    expect(
      await py.do('[i for i in range(600) if os.pread(fd, 3, 4096 * ((i * 7) % 600)) != b"%03d" % i]'),
    ).toEqual([])
  })
})

describe('a private mapping', () => {
  it('keeps what was written to it, and the file does not get it', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      write_file("f", b"." * 8192)
      fd = os.open("f", os.O_RDWR)
      memory = mmap.mmap(fd, 0, access=mmap.ACCESS_COPY)
      memory[0:1] = b"p"`)
    await scene.quietCheckpoint()
    await py.do('memory[1:2] = b"q"; memory[5000:5001] = b"r"')
    expect(await py.do('[memory[0:3], memory[4999:5002], read_file("f") == b"." * 8192]')).toEqual([
      'pq.',
      '.r.',
      true,
    ])
  })

  it('of the program that runs is kept when the program is replaced', async () => {
    const scene = await stage.scene()
    await scene.sh('cp /bin/cat /srv/own-cat; mkfifo /srv/gate')
    const cat = await scene.box.commands.start(['/srv/own-cat', '-', '/srv/after'], { stdin: true })
    await scene.quietCheckpoint()
    await scene.sh(
      'echo new program > /srv/own-cat.new; mv /srv/own-cat.new /srv/own-cat; echo after > /srv/after',
    )
    await scene.quietCheckpoint()
    await cat.sendStdin('before\n')
    await cat.closeStdin()
    let said = ''
    for await (const piece of cat.stdout) said += piece
    expect([said, (await cat.wait()).exitCode]).toEqual(['before\nafter\n', 0])
  })
})
