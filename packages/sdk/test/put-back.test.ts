import { describe, expect, it } from 'vitest'
import type { Checkpoint, Sandbox } from '../src/index.js'
import { DeltaBoxError } from '../src/index.js'
import { dryRun, transaction } from '../src/put-back.js'

/** Writes down what it is asked for. */
function fakeBox(calls: string[], rollback: () => void = () => {}): Sandbox {
  const before: Pick<Checkpoint, 'id' | 'delete'> = {
    id: 'cp-before',
    delete: async () => {
      calls.push('delete')
    },
  }
  const box = {
    checkpoint: async ({ label }: { label: string }) => {
      calls.push(`checkpoint ${label}`)
      return before
    },
    rollback: async ({ id }: { id: string }) => {
      calls.push(`rollback ${id}`)
      rollback()
    },
  }
  return box as unknown as Sandbox
}

const fails = async (): Promise<never> => {
  throw new Error('broken')
}
const cannotRollBack = (): never => {
  throw new DeltaBoxError('rollback_failed', 'cannot mount', { details: { step: 'mount' } })
}

describe('dryRun', () => {
  it('gives the result and puts everything back', async () => {
    const calls: string[] = []
    expect(await dryRun(fakeBox(calls), () => calls.push('work'), {})).toBe(2)
    expect(calls).toEqual(['checkpoint dry run', 'work', 'rollback cp-before', 'delete'])
  })

  it('puts everything back when the work throws, and throws that', async () => {
    const calls: string[] = []
    await expect(dryRun(fakeBox(calls), fails, {})).rejects.toThrow('broken')
    expect(calls).toEqual(['checkpoint dry run', 'rollback cp-before', 'delete'])
  })
})

describe('transaction', () => {
  it('keeps what the work did', async () => {
    const calls: string[] = []
    expect(await transaction(fakeBox(calls), async () => 'result', {})).toBe('result')
    expect(calls).toEqual(['checkpoint transaction', 'delete'])
  })

  it('puts everything back when the work throws, and throws that', async () => {
    const calls: string[] = []
    await expect(transaction(fakeBox(calls), fails, {})).rejects.toThrow('broken')
    expect(calls).toEqual(['checkpoint transaction', 'rollback cp-before', 'delete'])
  })

  it('that cannot put back keeps the checkpoint, names it and tells both faults', async () => {
    const calls: string[] = []
    const fault = await transaction(fakeBox(calls, cannotRollBack), fails, {}).catch((error) => error)
    expect(calls).not.toContain('delete')
    expect(fault).toMatchObject({
      code: 'rollback_failed',
      message: 'cannot mount; checkpoint cp-before keeps the state to go back to',
      details: { step: 'mount', checkpoint: 'cp-before' },
    })
    expect((fault.cause as AggregateError).errors).toMatchObject([
      { code: 'rollback_failed' },
      { message: 'broken' },
    ])
  })
})
