import os from 'node:os'
import { DeltaBoxError, type ErrorCode } from '@deltabox/protocol'
import { describe, expect, it } from 'vitest'
import { EngineError, EngineLostError } from '../src/engine/client.js'
import type { OperationName } from '../src/engine/messages.js'
import { FrameTooLargeError } from '../src/engine/wire.js'
import { explain } from '../src/state/engine-errors.js'

function engineError(code: string, errno: string, step = ''): EngineError {
  const number = errno === '' ? 0 : (os.constants.errno as Record<string, number>)[errno]
  return new EngineError({
    code,
    errno: number,
    step,
    object: Buffer.from('/a'),
    message: step === '' ? 'why' : `${step}: why`,
  })
}

const cases: [OperationName, string, string, string, ErrorCode][] = [
  ['file.open', 'system', 'ENOENT', '', 'file_not_found'],
  ['file.mkdir', 'system', 'EEXIST', '', 'file_exists'],
  ['file.open', 'system', 'EISDIR', '', 'is_directory'],
  ['file.list', 'system', 'ENOTDIR', '', 'not_directory'],
  ['file.remove', 'system', 'ENOTEMPTY', '', 'directory_not_empty'],
  ['file.open', 'system', 'ENODEV', '', 'not_a_file'],
  ['file.open', 'system', 'EACCES', '', 'permission_denied'],
  ['file.open', 'system', 'EPERM', '', 'permission_denied'],
  ['file.open', 'system', 'EROFS', '', 'permission_denied'],
  ['file.write', 'system', 'ENOSPC', 'write', 'disk_full'],
  ['sandbox.create', 'system', 'ENOSPC', 'seed: file', 'disk_full'],
  ['process.start', 'exec_failed', 'ENOENT', 'chdir', 'cwd_not_found'],
  ['process.start', 'exec_failed', 'ENOENT', 'user', 'user_not_found'],
  ['process.start', 'exec_failed', 'ENOENT', 'exec', 'command_not_found'],
  ['process.start', 'exec_failed', 'EACCES', 'exec', 'command_not_executable'],
  ['process.start', 'exec_failed', 'ENOEXEC', 'exec', 'command_not_executable'],
  ['process.start', 'exec_failed', 'E2BIG', 'exec', 'invalid_request'],
  ['process.start', 'exec_failed', 'ENOENT', 'enter namespaces', 'engine_failed'],
  ['base.open', 'system', 'EINVAL', 'shift ids', 'base_unsupported'],
  ['base.open', 'system', 'EOPNOTSUPP', 'shift ids', 'base_unsupported'],
  ['base.open', 'system', 'EINVAL', 'mount base', 'base_unsupported'],
  ['base.open', 'system', 'EINVAL', 'seed: file', 'engine_failed'],
  ['sandbox.create', 'system', 'EINVAL', 'seed: file', 'engine_failed'],
  ['sandbox.checkpoint', 'system', 'EIO', 'mount overlay', 'checkpoint_failed'],
  ['sandbox.checkpoint', 'system', 'ENOSPC', 'make layer', 'disk_full'],
  ['sandbox.checkpoint', 'refused', '', '', 'checkpoint_refused'],
  ['sandbox.checkpoint', 'unsettled', '', '', 'checkpoint_refused'],
  ['sandbox.checkpoint', 'sandbox_dead', '', '', 'sandbox_dead'],
  ['sandbox.rollback', 'busy', '', '', 'sandbox_busy'],
  ['sandbox.rollback', 'system', 'EIO', 'mount overlay', 'rollback_failed'],
  ['sandbox.create', 'limits_unavailable', '', '', 'limits_unavailable'],
  ['process.signal', 'no_such_process', '', '', 'process_ended'],
  ['process.write', 'stdin_closed', '', '', 'stdin_closed'],
  ['sandbox.stats', 'no_such_sandbox', '', '', 'sandbox_dead'],
  ['file.open', 'sandbox_dead', '', '', 'sandbox_dead'],
  ['file.open', 'bad_request', '', '', 'invalid_request'],
  ['process.read', 'system', 'EIO', 'read output', 'engine_failed'],
]

describe('explain', () => {
  it.each(cases)('%s: %s %s %s is %s… %s', (operation, code, errno, step, expected) => {
    const known = explain(engineError(code, errno, step), operation, 'do it')
    expect(known).toBeInstanceOf(DeltaBoxError)
    expect(known).toMatchObject({ code: expected, message: expect.stringMatching(/^cannot do it: ./) })
  })

  it('names step and object where the code says too little', () => {
    const error = explain(engineError('system', 'EIO', 'attach root'), 'sandbox.create', 'create sandbox x')
    expect(error).toMatchObject({
      code: 'engine_failed',
      message: 'cannot create sandbox x: attach root (/a): why',
      details: { errno: 'EIO', step: 'attach root', object: '/a' },
    })
  })

  it('names what forbids a checkpoint', () => {
    const obstacle = (pid: number): object => ({
      pid,
      command: Buffer.from('python3'),
      object: Buffer.from('io_uring'),
      reason: Buffer.from('cannot be carried over'),
    })
    const objects = [obstacle(12), obstacle(13)]
    const refused = new EngineError({ code: 'refused', errno: 0, objects, more: 2 })
    const facts = { command: 'python3', object: 'io_uring', reason: 'cannot be carried over' }
    expect(explain(refused, 'sandbox.checkpoint', 'do it')).toMatchObject({
      code: 'checkpoint_refused',
      message:
        'cannot do it: process 12 (python3), io_uring: cannot be carried over; process 13 (python3), io_uring: cannot be carried over; and 2 more',
      details: {
        objects: [
          { pid: 12, ...facts },
          { pid: 13, ...facts },
        ],
        more: 2,
        passing: false,
      },
    })
  })

  it('knows a lost engine and a request that is too large', () => {
    expect(explain(new EngineLostError('gone'), 'file.open', 'x')).toMatchObject({ code: 'engine_lost' })
    expect(explain(new FrameTooLargeError('big'), 'file.open', 'x')).toMatchObject({
      code: 'invalid_request',
    })
  })

  it('leaves what is not the engine’s', () => {
    const fault = new TypeError('ours')
    expect(explain(fault, 'file.open', 'x')).toBe(fault)
  })
})
