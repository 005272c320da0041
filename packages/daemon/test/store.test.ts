import path from 'node:path'
import Database from 'libsql'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { openStore } from '../src/state/store.js'
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
