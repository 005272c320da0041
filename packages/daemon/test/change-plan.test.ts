import { describe, expect, it } from 'vitest'
import { type HostNode, planChanges } from '../src/deltafs/change-plan.js'
import type { EngineChange } from '../src/engine/messages.js'

const CREATED = 1000n
const file = (more: Partial<HostNode> = {}): HostNode => ({
  type: 'file',
  mode: 0o644,
  uid: 0,
  gid: 0,
  size: 3,
  ctimeNs: 10n,
  ...more,
})

function change(kind: EngineChange['kind'], path: string, more: Partial<EngineChange> = {}): EngineChange {
  const facts = kind === 'D' ? {} : ({ type: 'file', mode: 0o644, uid: 0, gid: 0, size: 3 } as const)
  return { kind, path: Buffer.from(path), ...facts, ...more }
}

async function plan(
  changes: EngineChange[],
  host: Record<string, HostNode>,
  options: { applied?: [string, bigint][]; same?: string[] } = {},
): Promise<{ steps: string[]; conflicts: string[]; skipped: string[] }> {
  const { steps, conflicts, skipped } = await planChanges(changes, {
    createdNs: CREATED,
    applied: new Map(options.applied),
    look: async (path) => host[path.toString()],
    sameContent: async ({ path }) => options.same?.includes(path.toString()) === true,
  })
  return {
    steps: steps.map((step) => `${step.kind} ${step.path}`),
    conflicts: conflicts.map(String),
    skipped: skipped.map((one) => `${one.type} ${one.path}`),
  }
}

describe('planChanges', () => {
  it('applies what only the sandbox changed', async () => {
    const host = { m: file(), d: file() }
    expect(await plan([change('M', 'm'), change('D', 'd'), change('A', 'a')], host)).toEqual({
      steps: ['D d', 'M m', 'A a'],
      conflicts: [],
      skipped: [],
    })
  })

  it('removes contents before directories, and makes directories before contents', async () => {
    const directory = file({ type: 'directory' })
    const changes = [
      change('D', 'old'),
      change('D', 'old/sub'),
      change('D', 'old/sub/x'),
      change('D', 'old/y'),
      change('A', 'new', { type: 'directory' }),
      change('A', 'new/x'),
    ]
    const host = { old: directory, 'old/sub': directory, 'old/sub/x': file(), 'old/y': file() }
    expect((await plan(changes, host)).steps).toEqual([
      'D old/y',
      'D old/sub/x',
      'D old/sub',
      'D old',
      'A new',
      'A new/x',
    ])
  })

  it('finds a conflict where the host changed since, removed or added', async () => {
    const later = file({ ctimeNs: CREATED + 1n })
    const changes = [change('M', 'm'), change('D', 'd'), change('A', 'a'), change('M', 'gone')]
    expect((await plan(changes, { m: later, d: later, a: file() })).conflicts).toEqual([
      'm',
      'd',
      'a',
      'gone',
    ])
  })

  it('takes a change at the moment of creation for one the sandbox knows', async () => {
    expect((await plan([change('M', 'm')], { m: file({ ctimeNs: CREATED }) })).conflicts).toEqual([])
  })

  it('knows its own writes again, until somebody else writes', async () => {
    const host = { m: file({ ctimeNs: 2000n }) }
    expect((await plan([change('M', 'm')], host, { applied: [['m', 2000n]] })).conflicts).toEqual([])
    expect((await plan([change('M', 'm')], host, { applied: [['m', 1999n]] })).conflicts).toEqual(['m'])
  })

  it('has nothing to do where the host has the same, even where it changed', async () => {
    const later = file({ ctimeNs: CREATED + 1n, uid: 1000, gid: 1000 })
    const nothing = { steps: [], conflicts: [], skipped: [] }
    expect(
      await plan([change('M', 'm'), change('A', 'a')], { m: later, a: later }, { same: ['m', 'a'] }),
    ).toEqual(nothing)
    expect(await plan([change('D', 'd')], {})).toEqual(nothing)
  })

  it('sees differences of mode, owner, size, type and content', async () => {
    const differing: Partial<EngineChange>[] = [
      { mode: 0o755 },
      { uid: 7, gid: 7 },
      { size: 4 },
      { type: 'symlink', size: 4 },
    ]
    for (const difference of differing) {
      expect((await plan([change('M', 'm', difference)], { m: file() }, { same: [] })).steps).toEqual(['M m'])
    }
    expect((await plan([change('M', 'm')], { m: file() }, { same: [] })).steps).toEqual(['M m'])
  })

  it('takes no directory’s own time for a change', async () => {
    const host = { dir: file({ type: 'directory', ctimeNs: CREATED + 1n }) }
    expect(await plan([change('M', 'dir', { type: 'directory', mode: 0o700 })], host)).toMatchObject({
      steps: ['M dir'],
      conflicts: [],
    })
  })

  it('leaves pipes, sockets and devices where they are', async () => {
    const changes = (['fifo', 'socket', 'device'] as const).map((type) => change('A', type, { type }))
    expect(await plan(changes, {})).toEqual({
      steps: [],
      conflicts: [],
      skipped: ['fifo fifo', 'socket socket', 'device device'],
    })
  })
})
