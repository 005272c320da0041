/** Programs that would use a checkpoint to get more than they have, or make it harm others. */
import { setTimeout as pause } from 'node:timers/promises'
import type { DeltaBoxError } from 'deltabox'
import { describe, expect, it } from 'vitest'
import { useStage } from './support/stage.js'

const stage = useStage()

/** The reasons of a checkpoint that is refused. */
async function refusal(taken: Promise<unknown>): Promise<string[]> {
  const error = (await taken.then(
    () => expect.unreachable('it was taken'),
    (reason) => reason,
  )) as DeltaBoxError & { details?: { objects?: { object: string; reason: string }[] } }
  expect(error.code).toBe('checkpoint_refused')
  return (error.details?.objects ?? []).map(({ object, reason }) => `${object}: ${reason}`)
}

describe('the system call filter', () => {
  it('holds for threads that are about to be stopped', async () => {
    const scene = await stage.scene()
    const spinning = await scene.box.commands.start([
      'python3',
      '-uc',
      `
import os, ctypes
for _ in range(3):
    if os.fork() == 0:
        break
unshare = ctypes.CDLL(None).unshare
while unshare(0x10020000) != 0: # a user and a mount namespace
    pass
print("out")`,
    ])
    let output = ''
    spinning.stdout.on('data', (data) => {
      output += data
    })
    await pause(300)
    for (let round = 0; round < 12; round++) {
      await scene.sh('date > /srv/f')
      await scene.checkpoint()
    }
    expect(output).toBe('')
  })
})

describe('threads that run other programs all the time', () => {
  it('keep no checkpoint waiting, and leave nobody behind in what it froze', async () => {
    const scene = await stage.scene()
    await scene.box.files.write(
      '/srv/again.c',
      `
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>
static void *again(void *program) { execl(program, program, "x", (char *)0); return 0; }
int main(int argc, char **argv) {
    if (argc == 1) { open("log", O_RDWR | O_CREAT | O_APPEND, 0600); fork(); fork(); }
    pthread_t thread;
    for (int i = 0; i < 2; i++) pthread_create(&thread, 0, again, argv[0]);
    for (;;) pause();
}`,
    )
    await scene.sh('gcc -pthread -o again again.c', { cwd: '/srv' })
    await scene.box.commands.start(['/srv/again'], { cwd: '/srv' })
    for (let round = 0; round < 6; round++) {
      await scene.sh('date > f', { cwd: '/srv' })
      try {
        await scene.checkpoint()
      } catch (error) {
        expect((error as DeltaBoxError).code).toBe('checkpoint_refused')
      }
      // Between two programs a process cannot be looked at.
      const mounts = (): Promise<string> => scene.sh('grep -sh mnt_id /proc/[0-9]*/fdinfo/3 | sort -u; true')
      await expect.poll(mounts, { timeout: 20_000 }).toMatch(/^mnt_id:\t\d+\n$/)
    }
  })
})

describe('a frozen layer', () => {
  it('is not reached by memory of files with names like those of memory without one', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      names = ["/dev/zero1", "/SYSV1", "/memfd:1", "/srv/other"]
      for name in names:
          write_file(name, b"....")
      os.link("/srv/other", "/srv/a name") # its first one is taken away
      files = [os.open(name, os.O_RDWR) for name in names]
      memories = [mmap.mmap(fd, 4) for fd in files]
      os.closerange(3, 100)
      os.unlink("/srv/other")`)
    await scene.checkpoint()
    await py.do('for memory in memories: memory[0:1] = b"x"')
    expect(await scene.sh('cat /dev/zero1 /SYSV1 /memfd:1 "/srv/a name"')).toBe('x...x...x...x...')
  })
})

describe('the tree that was left', () => {
  it('is not written by way of a program that runs from it', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      import subprocess
      fd = os.open("gone", os.O_RDWR | os.O_CREAT | os.O_APPEND)
      fcntl.flock(fd, fcntl.LOCK_EX)
      os.unlink("gone") # its holder goes on writing
      programs = [subprocess.Popen(["/bin/sleep", "1000"]) for _ in range(2)]`)
    await scene.quietCheckpoint()
    await py.do(`
      paths = [os.open(f"/proc/{program.pid}/exe", os.O_PATH) for program in programs]
      for program in programs:
          program.kill()
          program.wait()
      os.write(fd, b"1")
      other = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)`)
    expect(await py.do('[failure(os.open, f"/proc/self/fd/{path}", os.O_WRONLY) for path in paths]')).toEqual(
      // Read-only, and what a template of the checkpoint runs from.
      ['ETXTBSY', 'ETXTBSY'],
    )
    expect(await py.do('[os.pread(other, 9, 0), failure(fcntl.flock, other, 6)]')).toEqual(['1', 'EAGAIN'])
    await py.do('os.close(fd); fcntl.flock(other, 6)')
  })
})

it('a lease keeps neither the file nor a checkpoint waiting for its time limit', async () => {
  const scene = await stage.scene()
  const py = await scene.python()
  await py.do(`
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)`)
  const begin = performance.now()
  await expect(scene.box.files.read('/srv/f')).rejects.toThrow('Resource temporarily unavailable')
  expect(await refusal(scene.box.checkpoint())).toEqual([
    'descriptor 3 (/srv/f): it has a lease or a lock of an unknown kind',
  ])
  expect(performance.now() - begin).toBeLessThan(20_000)
})

describe('a process that may not do again what it did', () => {
  it('stays in a directory that it may no longer enter', async () => {
    const scene = await stage.scene()
    await scene.sh('mkdir -m 700 /srv/private; touch /srv/private/f')
    const py = await scene.python({ cwd: '/srv/private' })
    await py.do('os.setgid(1000); os.setuid(1000)')
    await scene.quietCheckpoint()
    expect(await py.do('os.getcwd()')).toBe('/srv/private')
    expect(await py.do('failure(os.stat, "f")')).toBe('EACCES')
    expect(await scene.sh('stat -c %a /srv/private')).toBe('700\n')
  })

  it('is named when it may not change its root directory again', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do('os.mkdir("jail"); os.chroot("jail"); os.chdir("/"); os.setgid(1000); os.setuid(1000)')
    expect(await refusal(scene.box.checkpoint())).toEqual([
      '/srv/jail: it has this root directory and may not change it',
    ])
    expect(await py.do('os.listdir("/")')).toEqual([])
  })

  it('lives on when the swap of its memory fails, and all others do', async () => {
    const scene = await stage.scene()
    const [py, other] = [await scene.python(), await scene.python()]
    await other.do('fd = os.open("g", os.O_RDWR | os.O_CREAT); os.write(fd, b"1")')
    await py.do(`
      fd = os.open("f", os.O_RDWR | os.O_CREAT)
      os.ftruncate(fd, 1 << 20)
      memory = mmap.mmap(fd, 1 << 20)
      LIBC.mlockall(2) # of what is mapped from now on
      import resource
      resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 16, 1 << 16))`)
    await expect(scene.box.checkpoint()).rejects.toThrow('swap')
    await py.do('memory[0:1] = b"x"; os.pwrite(fd, b"y", 1)')
    await other.do('os.write(fd, b"2")')
    expect(await scene.sh('head -c 2 /srv/f; cat /srv/g')).toBe('xy12')
  })
})
