/** Processes of all kinds that run on through a checkpoint, and those that end during one. */
import { describe, expect, it } from 'vitest'
import { start } from './support/programs.js'
import { frozenFile, type Scene, useStage } from './support/stage.js'

const stage = useStage()

async function stop(scene: Scene, pid: number): Promise<void> {
  await scene.sh(`kill -TERM ${pid}`)
}

describe('threads', () => {
  it('that never rest lose nothing: in memory, by descriptor, by path, by mutex', async () => {
    const scene = await stage.scene()
    const { victim } = await start(scene, 'threads', ['8', 'm'])
    await scene.checkpoints(20)
    await stop(scene, victim.handle.pid)
    expect(await victim.end()).toEqual({ lines: ['counted'], status: 0, complaints: '' })
  })

  it('keep all their registers and what lies below the stack pointer', async () => {
    const scene = await stage.scene()
    const { victim } = await start(scene, 'registers')
    await scene.checkpoints(20)
    await stop(scene, victim.handle.pid)
    expect(await victim.end()).toEqual({ lines: ['as they were'], status: 0, complaints: '' })
  })

  it('with a working directory of their own are an obstacle that is named', async () => {
    const scene = await stage.scene()
    await scene.sh('mkdir /srv/own')
    const { victim } = await start(scene, 'apart', ['fs'])
    await expect(scene.checkpoint()).rejects.toMatchObject({
      code: 'checkpoint_refused',
      details: { objects: [{ object: 'a thread', reason: 'it has a working directory of its own' }] },
    })
    await victim.handle.sendStdin('x')
    expect(await victim.end()).toEqual({ lines: [], status: 0, complaints: '' })
    expect(await scene.sh('cd /srv; cat own/f g')).toBe('threadmain')
  })

  it('with descriptors of their own are an obstacle that is named', async () => {
    const scene = await stage.scene()
    const { victim } = await start(scene, 'apart', ['files'])
    await expect(scene.checkpoint()).rejects.toMatchObject({
      code: 'checkpoint_refused',
      details: {
        objects: [
          {
            pid: victim.handle.pid,
            command: 'apart',
            object: 'a thread',
            reason: 'it has a descriptor table of its own',
          },
        ],
      },
    })
    await victim.handle.sendStdin('x')
    expect(await victim.end()).toEqual({ lines: [], status: 0, complaints: '' })
    expect(await scene.sh('cd /srv; cat f g')).toBe('threadmain')
  })

  it('whose first one has ended keep what the process has', async () => {
    const scene = await stage.scene()
    const { victim } = await start(scene, 'leader')
    const { layer } = await scene.checkpoint()
    await victim.handle.sendStdin('x')
    expect(await victim.end()).toEqual({ lines: [], status: 0, complaints: '' })
    expect(await scene.sh('cat /srv/f')).toBe('first second')
    expect(frozenFile(layer, 'srv/f')).toBe('first ')
  })
})

describe('a stopped process', () => {
  it('stays stopped, is told of once, and goes on in the new layer', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      told = []
      signal.signal(signal.SIGCHLD, lambda *_: told.append(1))
      orders, order = os.pipe()
      pid = os.fork()
      if pid == 0:
          fd = os.open("f", os.O_CREAT | os.O_RDWR)
          os.write(fd, b"before ")
          os.kill(os.getpid(), signal.SIGSTOP)
          os.write(fd, b"after")
          os._exit(7)
      events = lambda flags: os.waitid(os.P_PID, pid, flags | os.WEXITED | os.WSTOPPED | os.WCONTINUED)`)
    expect(await py.do('event = events(0); [event.si_code == os.CLD_STOPPED, event.si_status]')).toEqual([
      true,
      19,
    ])
    const { layer } = await scene.quietCheckpoint()
    await scene.sh('touch /srv/other')
    await scene.quietCheckpoint()
    expect(await py.do('[events(os.WNOHANG), len(told)]')).toEqual([null, 1])
    expect(await py.do('os.kill(pid, signal.SIGCONT); events(os.WNOWAIT) is not None')).toBe(true)
    expect(await py.do('while True:\n  event = events(0)\n  if event.si_code == os.CLD_EXITED: break')).toBe(
      null,
    )
    expect(await py.do('[event.si_status, read_file("f")]')).toEqual([7, 'before after'])
    expect(frozenFile(layer, 'srv/f')).toBe('before ')
  })

  it('of a shell with job control is still its job', async () => {
    const scene = await stage.scene()
    const shell = await scene.box.commands.start(['bash', '--norc', '-i'], {
      cwd: '/srv',
      stdin: true,
      tty: { cols: 80, rows: 25 },
      env: { PS1: '' },
    })
    let screen = ''
    shell.stdout.on('data', (piece: Buffer) => {
      screen += piece
    })
    await shell.sendStdin(
      'bind "set enable-bracketed-paste off"; stty -echo\rsh -c "echo up; read a; echo got \\$a"\r',
    )
    await expect.poll(() => screen).toMatch(/^up\r$/m)
    await shell.sendStdin('\x1a')
    await expect.poll(() => screen).toMatch(/Stopped/)
    await scene.sh('touch /srv/f')
    await scene.quietCheckpoint()
    await shell.sendStdin('jobs | grep -c Stopped\rfg\r')
    await expect.poll(() => screen).toMatch(/^1\r\nsh -c .*\r$/m)
    await shell.sendStdin('word\r')
    await expect.poll(() => screen).toMatch(/^got word\r$/m)
    await shell.sendStdin('exit 3\r')
    expect((await shell.wait()).exitCode).toBe(3)
  })
})

describe('signals', () => {
  it('that wait to be taken are there afterwards, SIGTRAP too, each as often as it was sent', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      write_file("f", b"")
      held = {signal.SIGTRAP, signal.SIGUSR1, signal.SIGRTMIN, signal.SIGCHLD}
      signal.pthread_sigmask(signal.SIG_BLOCK, held)
      signal.raise_signal(signal.SIGTRAP)
      os.kill(os.getpid(), signal.SIGUSR1)
      for i in range(3): signal.raise_signal(signal.SIGRTMIN)`)
    await scene.quietCheckpoint()
    expect(await py.do('sorted(signal.sigpending())')).toEqual([5, 10, 34])
    expect(
      await py.do(`
        taken = []
        while info := signal.sigtimedwait(held, 0): taken.append(info.si_signo)
        sorted(taken)`),
    ).toEqual([5, 10, 34, 34, 34])
  })

  it.each([
    ['ignored', 'signal.signal(signal.SIGTRAP, signal.SIG_IGN)'],
    ['blocked', 'signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTRAP})'],
    ['handled', 'seen = []; signal.signal(signal.SIGTRAP, lambda *_: seen.append(1))'],
    [
      'sent to the process and blocked',
      'signal.pthread_sigmask(signal.SIG_BLOCK, {5}); os.kill(os.getpid(), 5)',
    ],
  ])('the engine needs are its own where SIGTRAP is %s', async (_how, prepare) => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`seen = []; fd = os.open("f", os.O_CREAT | os.O_RDWR); ${prepare}`)
    const pending = await py.do('sorted(signal.sigpending())')
    const { layer } = await scene.quietCheckpoint()
    await py.do('os.write(fd, b"after")')
    expect(await py.do('[read_file("f"), seen, sorted(signal.sigpending())]')).toEqual(['after', [], pending])
    expect(frozenFile(layer, 'srv/f')).toBe('')
  })

  it('may be as many as the limit allows', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      import resource
      fd = os.open("f", os.O_CREAT | os.O_RDWR)
      resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, 0))`)
    await scene.quietCheckpoint()
    expect(await py.do('os.write(fd, b"after"); read_file("f")')).toBe('after')
  })

  it('are handled on a stack of their own, also while a checkpoint is taken', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      reader, writer = os.pipe()
      depth = []
      def handler(number, frame):
          depth.append(os.read(reader, 1))
          if len(depth) == 1: signal.raise_signal(signal.SIGUSR1)
      signal.signal(signal.SIGUSR1, handler)
      fd = os.open("f", os.O_CREAT | os.O_RDWR)`)
    const done = py.do('signal.raise_signal(signal.SIGUSR1); os.write(fd, b"after"); depth')
    await expect.poll(() => py.waitsIn()).toBe(0)
    await scene.quietCheckpoint()
    await scene.sh(`printf ab > /proc/${py.handle.pid}/fd/4`)
    expect(await done).toEqual(['a', 'b'])
    expect(await py.do('read_file("f")')).toBe('after')
  })
})

describe('a process that has given up rights', () => {
  it('by seccomp is moved, and still killed for what it may not do', async () => {
    const scene = await stage.scene()
    const { victim } = await start(scene, 'strict')
    await victim.handle.sendStdin('a')
    expect(await victim.line()).toBe('done')
    const { layer } = await scene.quietCheckpoint()
    await victim.handle.sendStdin('b')
    expect(await victim.line()).toBe('done')
    await scene.quietCheckpoint()
    await victim.handle.closeStdin()
    expect(await victim.end()).toEqual({
      lines: [],
      status: 'SIGSYS',
      complaints: '',
    })
    expect(await scene.sh('cat /srv/f')).toBe('ab')
    expect(frozenFile(layer, 'srv/f')).toBe('a')
  })

  it('by changing its user, its capabilities and what it may dump is moved', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      fd = os.open("f", os.O_CREAT | os.O_RDWR, 0o600)
      LIBC.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
      os.setgroups([]); os.setresgid(1234, 1234, 1234); os.setresuid(1234, 1234, 1234)
      LIBC.prctl(4, 0, 0, 0, 0)   # PR_SET_DUMPABLE`)
    const { layer } = await scene.quietCheckpoint()
    await py.do('os.write(fd, b"after")')
    expect(
      await py.do('[os.pread(fd, 9, 0), failure(os.open, "f", os.O_RDWR), LIBC.prctl(3), os.getresuid()]'),
    ).toEqual(['after', 'EACCES', 0, [1234, 1234, 1234]])
    expect(frozenFile(layer, 'srv/f')).toBe('')
  })

  it('to memory that can be written and run, and to more memory, is moved', async () => {
    const scene = await stage.scene()
    const py = await scene.python()
    await py.do(`
      import resource
      fd = os.open("f", os.O_CREAT | os.O_RDWR)
      size = int(read_file("/proc/self/statm").split()[0]) * 4096
      refused = LIBC.prctl(65, 1, 0, 0, 0)  # PR_SET_MDWE
      resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))
      resource.setrlimit(resource.RLIMIT_DATA, (4096, resource.RLIM_INFINITY))`)
    expect(await py.do('refused')).toBe(0)
    await scene.quietCheckpoint()
    expect(await py.do('os.write(fd, b"after"); os.pread(fd, 9, 0)')).toBe('after')
  })
})

describe('processes that come and go', () => {
  it('by posix_spawn and vfork all do what they were started for', async () => {
    const scene = await stage.scene()
    const { victim } = await start(scene, 'spawner', ['/srv/f'])
    await scene.checkpoints(20)
    await stop(scene, victim.handle.pid)
    expect(await victim.end()).toEqual({ lines: ['all as told'], status: 0, complaints: '' })
  })

  it('end as they would have ended, in the middle of a checkpoint too, and their parent is told once', async () => {
    const scene = await stage.scene()
    const { victim } = await start(scene, 'mayflies')
    await scene.checkpoints(30, 50)
    await stop(scene, victim.handle.pid)
    expect(await victim.end()).toEqual({ lines: ['every end was told once'], status: 0, complaints: '' })
  })

  it('are told of as ended by whom they were, when they are killed from outside meanwhile', async () => {
    const scene = await stage.scene()
    for (let round = 0; round < 10; round++) {
      const { victim } = await start(scene, 'threads', ['4', `m${round}`])
      const [, end] = await Promise.all([
        scene.checkpoints(2, 100),
        victim.handle.kill().then(() => victim.end()),
      ])
      expect(end).toEqual({ lines: [], status: 'SIGKILL', complaints: '' })
    }
    expect(await scene.box.commands.list()).not.toContainEqual(expect.objectContaining({ state: 'running' }))
  })
})
