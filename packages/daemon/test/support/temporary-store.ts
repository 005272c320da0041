/** A store and a layer store in a directory of a test's own, with one family in it. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pino } from 'pino'
import { LayerStore } from '../../src/deltafs/layer-store.js'
import { Afterwards } from '../../src/state/afterwards.js'
import type { CheckpointRow } from '../../src/state/checkpoint-table.js'
import { type Paths, prepareDirectories } from '../../src/state/data-dir.js'
import type { FamilySetup } from '../../src/state/family-table.js'
import { Layers } from '../../src/state/layers.js'
import { openStore, type Store } from '../../src/state/store.js'

export const FAMILY = 'family'
export const SETUP: FamilySetup = {
  base: '/',
  workspace: null,
  hostname: 'box',
  masks: [],
  net: 'none',
  cwd: '/root',
  env: {},
  memoryBytes: null,
  cpus: null,
  pids: null,
  diskBytes: null,
  since: 1,
}

export interface TemporaryStore {
  readonly paths: Paths
  readonly store: Store
  readonly disk: LayerStore
  readonly afterwards: Afterwards
  readonly layers: Layers
  close(): Promise<void>
}

export async function temporaryStore(): Promise<TemporaryStore> {
  const directory = mkdtempSync(path.join(tmpdir(), 'dbx-'))
  const config = { dataDir: path.join(directory, 'data'), runBase: path.join(directory, 'run') }
  const paths = await prepareDirectories(config)
  const store = await openStore(paths)
  store.families.insert(FAMILY, 1)
  store.families.setSetup(FAMILY, SETUP)
  const disk = new LayerStore(paths.families)
  await disk.prepareFamily(FAMILY)
  const log = pino({ level: 'silent' })
  const afterwards = new Afterwards(log)
  const layers = new Layers(store, disk, log, afterwards)
  const close = async (): Promise<void> => {
    afterwards.stop()
    await layers.stop()
    store.close()
    rmSync(directory, { recursive: true })
  }
  return { paths, store, disk, afterwards, layers, close }
}

/** A checkpoint at the top of a chain. */
export function checkpointAt(id: string, layer: string | null, parent: string | null = null): CheckpointRow {
  return {
    id,
    family: FAMILY,
    sandbox: 'sb-a',
    parent,
    layer,
    label: null,
    internal: false,
    unchanged: false,
    blockingUsec: 0,
    processes: 0,
    files: 0,
    fileBytes: null,
    memoryBytes: 0,
    image: null,
    durable: false,
    createdAt: 1,
  }
}
