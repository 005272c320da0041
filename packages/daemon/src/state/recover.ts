/** Picking up what an earlier daemon left: engines tell what is true, the store what was meant. */
import { readdir, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { removeTree } from '../deltafs/remove-tree.js'
import type { EngineProcess, EngineSandbox, Hello } from '../engine/messages.js'
import { namesIn } from '../names-in.js'
import { removeCgroups, removePoolCgroups } from './cgroups.js'
import { discardCheckpoint, leaveCheckpoint } from './checkpoints.js'
import { clientLeft } from './client-grace.js'
import { finishRemoval } from './destroy.js'
import { markDead } from './engine-events.js'
import { type Family, firstUid } from './families.js'
import type { FamilyRow } from './family-table.js'
import { settleHead } from './heads.js'
import { markLost, recordExit } from './process-end.js'
import type { ProcessRow } from './process-table.js'
import type { SandboxRow } from './sandbox-table.js'
import type { State } from './state.js'
import { armTimeLimit } from './time-limit.js'

const BOOT_ID = '/proc/sys/kernel/random/boot_id'

export async function recover(state: State): Promise<void> {
  const boot = (await readFile(BOOT_ID, 'utf8')).trim()
  const isSameBoot = state.store.isSameBoot(boot)
  for (const row of state.store.families.all()) await recoverFamily(state, row)
  for (const row of state.store.checkpoints.internal()) leaveCheckpoint(state, row.id)
  await state.images.recover()
  if (!isSameBoot) forgetVolatile(state)
  await removeStrays(state)
  await state.layers.cleanUp()
}

/** What the disk did not have when the host stopped may be there in parts. Those that came from it are younger, and went too. */
function forgetVolatile(state: State): void {
  for (const row of state.store.checkpoints.volatile().reverse()) {
    state.log.warn({ checkpoint: row.id }, 'it was not on disk when the host stopped; removed')
    discardCheckpoint(state, row)
  }
}

async function recoverFamily(state: State, row: FamilyRow): Promise<void> {
  const sandboxes = state.store.sandboxes.ofFamily(row.id)
  const found = await state.families.reconnect(row)
  if (found) await recoverLive(state, found.family, found.hello, sandboxes)
  else await recoverGone(state, row, sandboxes)
  const isNew = row.setup === null && found !== undefined
  if (!isNew || !state.families.adoptSpare(found.family)) await state.families.retire(row.id)
}

async function recoverLive(
  state: State,
  family: Family,
  hello: Hello,
  sandboxes: readonly SandboxRow[],
): Promise<void> {
  if (hello.sandboxes.length > 0) family.base = Promise.resolve({})
  await recoverImages(state, family, hello)
  for (const stray of hello.sandboxes) {
    if (sandboxes.some((row) => row.id === stray.sandbox)) continue
    await family.client.request('sandbox.destroy', { sandbox: stray.sandbox, remove: true })
  }
  for (const sandbox of sandboxes) {
    const known = hello.sandboxes.find((candidate) => candidate.sandbox === sandbox.id)
    await recoverSandbox(state, sandbox, known)
  }
}

async function recoverImages(state: State, { id, client }: Family, { images }: Hello): Promise<void> {
  const { store } = state
  const known = new Map(images.map((image) => [image.image, image]))
  for (const { image } of images) {
    // Of a checkpoint that a daemon was killed while it took or removed.
    if (!store.images.isWanted(image)) await client.request('image.drop', { image })
  }
  for (const row of store.images.ofFamily(id)) {
    const found = store.images.isWanted(row.id) ? known.get(row.id) : undefined
    store.images.setInMemory(row.id, found !== undefined, found?.bytes)
    if (found?.failure) state.images.tell({ event: 'image.failed', image: row.id, reason: found.failure })
    else if (found?.ready) state.images.tell({ event: 'image.ready', image: row.id, bytes: found.bytes })
    else if (!found && row.diskBytes === null) store.images.lose(row.id)
  }
}

async function recoverSandbox(
  state: State,
  sandbox: SandboxRow,
  known: EngineSandbox | undefined,
): Promise<void> {
  if (sandbox.state === 'creating' || sandbox.state === 'removing') {
    state.log.info({ sandbox: sandbox.id }, `a daemon stopped while ${sandbox.state} it; removed`)
    await finishRemoval(state, sandbox)
  } else if (!known || known.dead) {
    markDead(state, sandbox.id, 'its init ended while no daemon ran')
  } else if (!settleHead(state, sandbox, known.head)) {
    markDead(state, sandbox.id, `it writes to a layer that is not known (${known.head})`)
  } else {
    for (const row of state.store.processes.running(sandbox.id)) {
      recoverProcess(
        state,
        row,
        known.processes.find((candidate) => candidate.process === row.id),
      )
    }
  }
}

function recoverProcess(state: State, row: ProcessRow, known: EngineProcess | undefined): void {
  if (!known) {
    // One that was being started and did not make it was never anybody's.
    if (row.pid === null) state.store.processes.remove(row.sandbox, row.id)
    else markLost(state, row)
    return
  }
  const running = state.running.add(row.sandbox, row.id, known.held)
  running.started = true
  state.store.processes.setPid(row.sandbox, row.id, known.pid)
  if (known.running) {
    armTimeLimit(state, row)
    clientLeft(state, row)
  } else {
    const { exitCode, signal, oomKilled = false, written } = known
    recordExit(state, {
      event: 'process.exit',
      sandbox: row.sandbox,
      process: row.id,
      ...(exitCode === undefined ? {} : { exitCode }),
      ...(signal === undefined ? {} : { signal }),
      oomKilled,
      written,
    })
  }
}

/** With the engine everything it ran is gone; what the user made stays until it is removed. */
async function recoverGone(
  state: State,
  { slot }: FamilyRow,
  sandboxes: readonly SandboxRow[],
): Promise<void> {
  await removePoolCgroups(state.log, sandboxes, firstUid(slot))
  for (const sandbox of sandboxes) {
    await removeCgroups(state.log, sandbox.cgroups)
    if (sandbox.state === 'running') markDead(state, sandbox.id, 'its engine ended while no daemon ran')
    else if (sandbox.state !== 'dead') await finishRemoval(state, sandbox)
  }
}

/** Directories and sockets that no record names: their records were removed first. */
async function removeStrays(state: State): Promise<void> {
  const { store, families, paths } = state
  const known = new Set(store.families.all().map((row) => row.id))
  for (const name of await readdir(paths.families)) {
    if (!known.has(name)) await removeTree(families.directory(name))
  }
  for (const family of known) {
    const kept = new Set(store.sandboxes.ofFamily(family).map((row) => row.id))
    const sandboxes = path.join(families.directory(family), 'sandboxes')
    for (const name of await namesIn(sandboxes)) {
      if (!kept.has(name)) await removeTree(path.join(sandboxes, name))
    }
  }
  const sockets = new Set([...known].map((family) => path.basename(families.socket(family))))
  for (const name of await readdir(paths.runDir)) {
    if (sockets.has(name)) continue
    const stray = path.join(paths.runDir, name)
    if (name.startsWith('e-')) await families.endStranger(stray)
    await rm(stray, { force: true, recursive: true })
  }
}
