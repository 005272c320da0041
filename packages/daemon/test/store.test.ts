import path from 'node:path'
import Database from 'libsql'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openStore, type Store } from '../src/state/store.js'
import {
  checkpointAt,
  FAMILY,
  SETUP,
  type TemporaryStore,
  temporaryStore,
} from './support/temporary-store.js'

let the: TemporaryStore

beforeEach(async () => {
  the = await temporaryStore()
})
afterEach(() => the.close())

it('a transaction that throws changes nothing, and one within another is part of it', () => {
  const { store } = the
  expect(() =>
    store.transaction(() => {
      store.transaction(() => store.checkpoints.insert(checkpointAt('cp-a', null)))
      throw new Error('no')
    }),
  ).toThrow('no')
  expect(store.checkpoints.get('cp-a')).toBeUndefined()
  expect(store.transaction(() => 5)).toBe(5)
})

it('a sandbox has what its family has', () => {
  const { store } = the
  const standing = { head: 'l', checkpoint: null, parent: 'sb-b', forkedFrom: 'cp-a' }
  store.sandboxes.insert({ id: 'sb-a', name: 'a', family: FAMILY, ...standing, createdAt: 5 })
  store.sandboxes.setRunning('sb-a', ['/sys/fs/cgroup/x'])
  expect(store.sandboxes.byName('a')).toMatchObject({
    ...SETUP,
    id: 'sb-a',
    name: 'a',
    family: FAMILY,
    state: 'running',
    reason: null,
    ...standing,
    cgroups: ['/sys/fs/cgroup/x'],
    createdAt: 5,
  })
})

describe('a sandbox that was asked for before', () => {
  const standing = { head: 'l', checkpoint: 'cp-a', parent: null, forkedFrom: null }
  /** What the library adds to a row that is asked for alone is none of the row. */
  const asked = (): unknown => {
    const row = the.store.sandboxes.get('sb-a')
    return row && { ...row, _metadata: undefined }
  }
  const stored = (): unknown => the.store.sandboxes.all().find(({ id }) => id === 'sb-a')

  beforeEach(() => {
    the.store.sandboxes.insert({ id: 'sb-a', name: 'a', family: FAMILY, ...standing, createdAt: 5 })
    expect(asked()).toEqual(stored())
  })

  const changes: Readonly<Record<string, (store: Store) => void>> = {
    runs: ({ sandboxes }) => sandboxes.setRunning('sb-a', ['/sys/fs/cgroup/x']),
    dies: ({ sandboxes }) => sandboxes.setState('sb-a', 'dead', 'why'),
    'is renamed': ({ sandboxes }) => sandboxes.setName('sb-a', 'b'),
    'has rules': ({ sandboxes }) => sandboxes.setRetention('sb-a', { keepLast: 1 }),
    moves: ({ sandboxes }) => sandboxes.setHead('sb-a', 'm', 'cp-b'),
    'loses its checkpoint': ({ sandboxes }) => sandboxes.movePositions('cp-a', null),
    'is removed': ({ sandboxes }) => sandboxes.remove('sb-a'),
    'is forgotten': (store) => store.forgetSandbox('sb-a'),
  }

  it.each(Object.keys(changes))('%s', (name) => {
    const before = stored()
    changes[name]?.(the.store)
    expect(asked()).toEqual(stored())
    expect(asked()).not.toEqual(before)
  })

  it.each(Object.keys(changes))('does not, where that was undone: %s', (name) => {
    const before = stored()
    const change = (): void => {
      changes[name]?.(the.store)
      expect(asked()).not.toEqual(before)
    }
    the.store.rehearse(change)
    expect(asked()).toEqual(before)
    const undone = (): void => {
      change()
      throw new Error('no')
    }
    expect(() => the.store.transaction(undone)).toThrow('no')
    expect(asked()).toEqual(before)
  })
})

it('a checkpoint is found by what it hangs on', () => {
  const { checkpoints } = the.store
  const first = checkpointAt('cp-aa', null)
  const second = { ...checkpointAt('cp-ab', 'l', 'cp-aa'), internal: true, fileBytes: 7 }
  checkpoints.insert(first)
  checkpoints.insert(second)
  expect(checkpoints.get('cp-ab')).toMatchObject(second)
  expect(checkpoints.ofSandbox('sb-a')).toEqual([first, second])
  expect(checkpoints.byPrefix('cp-a').map(({ id }) => id)).toEqual(['cp-aa', 'cp-ab'])
  expect(checkpoints.children('cp-aa')).toEqual([second])
  expect(checkpoints.internal()).toEqual([second])
  expect([checkpoints.hasFamily(FAMILY), checkpoints.hasFamily('other')]).toEqual([true, false])
})

it('one of another schema is refused and left as it is', async () => {
  const old = path.join(the.paths.dataDir, 'old.db')
  const db = new Database(old)
  db.exec('PRAGMA user_version = 1')
  db.close()
  await expect(openStore({ ...the.paths, database: old })).rejects.toMatchObject({
    code: 'data_dir_invalid',
    message: expect.stringMatching(/schema 1, this daemon knows 5$/),
  })
})
