/** System calls that a process waits in through checkpoints: they go on waiting, and end as they would have ended. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { start } from './support/programs.js'
import { useStage } from './support/stage.js'

const stage = useStage()

/** The number of the call by which the kernel goes on with some that have a time limit. */
const RESTARTED = '219'

/** What the program says: the result, the error, how often a handler ran, and whether its time limit had passed. */
const WOKEN: readonly (readonly [string, string])[] = [
  ['poll', '1 - 0'],
  ['select', '1 - 0'],
  ['pselect', '1 - 0'],
  ['epoll_wait', '1 - 0'],
  ['epoll_pwait', '1 - 0'],
  ['futex', '0 - 0'],
  ['read-pipe', '4 - 0'],
  ['write-pipe', '4096 - 0'],
  ['splice', '4 - 0'],
  ['recv', '4 - 0'],
  ['accept', '1 - 0'],
  ['connect', '0 - 0'],
  ['sigwait', '10 - 0'],
  ['sigsuspend', '-1 EINTR 1'],
  ['read-handler', '-1 EINTR 1'],
  ['read-handler-restart', '4 - 1'],
  ['read-signalfd', '128 - 0'],
  ['read-eventfd', '8 - 0'],
  ['read-inotify', '1 - 0'],
  ['wait4', '42 - 0'],
  ['waitid', '42 - 0'],
  ['flock', '0 - 0'],
  ['open-fifo', '1 - 0'],
]
/** Of what no checkpoint keeps. */
const REFUSED: readonly (readonly [string, string])[] = [
  ['msgrcv', '4 - 0'],
  ['semop', '0 - 0'],
  ['mq_receive', '4 - 0'],
]
const LIMITED: readonly (readonly [string, string])[] = [
  ['nanosleep', '0 - 0'],
  ['clock_nanosleep', '0 - 0'],
  ['poll-limit', '0 - 0'],
  ['ppoll-limit', '0 - 0'],
  ['select-limit', '0 - 0'],
  ['futex-limit', '-1 ETIMEDOUT 0'],
  ['pause-alarm', '-1 EINTR 1'],
  ['read-timerfd', '8 - 0'],
]

describe('a call that waits to be woken', () => {
  it.each(WOKEN)('%s goes on waiting, and ends when it is', async (name, expected) => {
    const scene = await stage.scene()
    const { victim, said } = await start(scene, 'calls', [name])
    const waits = (): string => readFileSync(`/proc/${victim.hostPid}/syscall`, 'utf8').split(' ')[0] ?? ''
    expect(said).toBe(`ready ${victim.handle.pid}`)
    await expect.poll(waits).toMatch(/^\d/)
    const call = waits()
    for (let round = 0; round < 3; round++) {
      await scene.box.files.write('/opt/written', `${round}`)
      await scene.quietCheckpoint()
      expect([call, RESTARTED]).toContain(waits())
    }
    await victim.handle.sendStdin('x')
    expect(await victim.end()).toEqual({
      lines: [expect.stringMatching(`^${expected} `)],
      status: 0,
      complaints: '',
    })
  })
})

describe('a call that waits on what refuses checkpoints', () => {
  it.each(REFUSED)('%s goes on waiting, and ends when it is woken', async (name, expected) => {
    const scene = await stage.scene()
    const { victim } = await start(scene, 'calls', [name])
    const waits = (): string => readFileSync(`/proc/${victim.hostPid}/syscall`, 'utf8').split(' ')[0] ?? ''
    await expect.poll(waits).toMatch(/^\d/)
    const call = waits()
    for (let round = 0; round < 3; round++) {
      await expect(scene.checkpoint()).rejects.toMatchObject({ code: 'checkpoint_refused' })
      expect([call, RESTARTED]).toContain(waits())
    }
    await victim.handle.sendStdin('x')
    expect(await victim.end()).toMatchObject({
      ...{ lines: [expect.stringMatching(`^${expected} `)], status: 0, complaints: '' },
    })
  })
})

describe('a call with a time limit', () => {
  it.each(LIMITED)('%s comes to its end, however often there is a checkpoint', async (name, expected) => {
    const scene = await stage.scene()
    const { victim } = await start(scene, 'calls', [name])
    const deadline = performance.now() + 5000
    let ended = false
    const end = victim.end().then((result) => {
      ended = true
      return result
    })
    while (!ended && performance.now() < deadline) await scene.checkpoints(1)
    expect(ended).toBe(true)
    expect(await end).toEqual({ lines: [`${expected} in time`], status: 0, complaints: '' })
  })
})

it('a read of a terminal goes on waiting', async () => {
  const scene = await stage.scene()
  const handle = await scene.box.commands.start(['sh', '-c', 'read a; read b; echo "<$a $b>"'], {
    stdin: true,
    tty: { cols: 80, rows: 25 },
  })
  let screen = ''
  handle.stdout.on('data', (piece: Buffer) => {
    screen += piece
  })
  await scene.checkpoints(3)
  await handle.sendStdin('one\r')
  await scene.checkpoints(3)
  await handle.sendStdin('two\r')
  expect((await handle.wait()).exitCode).toBe(0)
  expect(screen.split('\r\n')).toEqual(['one', 'two', '<one two>', ''])
})

it('queued signals come once and in order, and interrupt no call but where a handler ran', async () => {
  const scene = await stage.scene()
  const { victim, said } = await start(scene, 'signals')
  await scene.checkpoints(20)
  await scene.box.commands.run(`kill -TERM ${said.slice('ready '.length)}`)
  expect(await victim.end()).toEqual({ lines: ['every signal came once'], status: 0, complaints: '' })
})
