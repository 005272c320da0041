/** A checkpoint with all it descends from, out of a stream that may have come from anywhere: a family of its own, or nothing. */
import { execFile } from 'node:child_process'
import { mkdir, readdir, rename } from 'node:fs/promises'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { DeltaBoxError, type Imported, type ImportQuery, type Manifest } from '@deltabox/protocol'
import { checkImages } from '../deltacr/check-images.js'
import { ImageStore } from '../deltacr/image-store.js'
import { LayerStore } from '../deltafs/layer-store.js'
import { removeTree } from '../deltafs/remove-tree.js'
import { renameImages, TransferError, unpackState } from '../engine/transfer.js'
import { treesOf } from './base.js'
import type { CheckpointRow } from './checkpoint-table.js'
import { getCheckpoint } from './checkpoints.js'
import { hostDirectory, refuseWorkspace } from './create.js'
import { toDeltaBoxError } from './error-body.js'
import type { FamilySetup } from './family-table.js'
import { hostFacts } from './host.js'
import { newCheckpointId, newLayerId, newSandboxId } from './ids.js'
import { invalidImport, readManifest } from './manifest.js'
import type { State } from './state.js'
import { rounded } from './timings.js'

const run = promisify(execFile)

/** Where it is unpacked to, in the new family's directory, before anything knows of it. */
const ROOM = 'incoming'
const ONE_AT_A_TIME = 'import'

export async function importCheckpoint(state: State, query: ImportQuery, body: Readable): Promise<Imported> {
  const started = performance.now()
  const family = await state.families.adopt()
  try {
    const arrived = await unpack(state, family, query, body)
    // Names that are free are taken one import after the other.
    const imported = await state.serial.run(ONE_AT_A_TIME, () => settle(state, family.id, arrived))
    const ms = rounded(performance.now() - started)
    state.log.info({ checkpoint: imported.checkpoint.id, checkpoints: imported.checkpoints, ms }, 'imported')
    return { ...imported, ms }
  } catch (error) {
    await state.families
      .discard(family.id)
      .catch((left) => state.log.error({ family: family.id, err: left }, 'what was unpacked is left behind'))
    throw explainImport(error)
  }
}

async function settle(state: State, family: string, arrived: Arrived): Promise<Omit<Imported, 'ms'>> {
  const { manifest } = arrived
  const names = new Names(state, manifest)
  const sizes = await settleImages(state, family, manifest, names)
  const warnings = [...(await differences(arrived)), ...sizes.warnings]
  await takeIn(state, { family, ...arrived, names, bytes: sizes.bytes })
  const checkpoint = getCheckpoint(state, names.of(manifest.checkpoint))
  return { checkpoint, checkpoints: manifest.checkpoints.length, renamed: names.renamed(), warnings }
}

interface Arrived {
  readonly manifest: Manifest
  readonly setup: FamilySetup
}

async function unpack(
  state: State,
  { id, uidBase }: { readonly id: string; readonly uidBase: number },
  query: ImportQuery,
  body: Readable,
): Promise<Arrived> {
  const directory = path.join(state.families.directory(id), ROOM)
  await mkdir(directory, { mode: 0o700 })
  let arrived: Arrived | undefined
  await unpackState({ enginePath: state.config.enginePath, directory, uidBase }, body, async (told) => {
    const manifest = readManifest(told)
    arrived = { manifest, setup: await agreedSetup(state, manifest.setup, query) }
  })
  if (!arrived) throw invalidImport('it tells nothing of itself')
  await expectOnly(path.join(directory, 'layers'), arrived.manifest.layers)
  await expectOnly(path.join(directory, 'images'), arrived.manifest.images)
  return arrived
}

/** What it tells of, and nothing else. */
async function expectOnly(directory: string, told: readonly { readonly id: string }[]): Promise<void> {
  const names = new Set(await readdir(directory))
  for (const { id } of told) {
    if (!names.delete(id)) throw invalidImport(`it tells of ${id}, which is not in it`)
  }
  for (const id of names) throw invalidImport(`it does not tell of ${id}`)
}

/** What it stands on is this host's own, and is named by whoever imports it: a file could name any directory. */
async function agreedSetup(
  state: State,
  setup: Manifest['setup'],
  { base, workspace, net = 'none' }: ImportQuery,
): Promise<FamilySetup> {
  const refuse = (what: string): DeltaBoxError =>
    new DeltaBoxError('import_refused', `cannot import the file: ${what}`)
  if (base === undefined && setup.base !== '/') {
    throw refuse(`its sandboxes stand on ${setup.base}; say where that is here (--base DIR)`)
  }
  if (workspace === undefined && setup.workspace !== null) {
    throw refuse(`its sandboxes have the workspace ${setup.workspace} (--workspace ${setup.workspace})`)
  }
  if (net === 'none' && setup.net === 'host') {
    throw refuse('its sandboxes have the network of the host (--net host)')
  }
  const agreedBase = await hostDirectory('base', base ?? '/', 'base_not_found')
  const agreedWorkspace =
    workspace === undefined ? null : await hostDirectory('workspace', workspace, 'workspace_not_found')
  if (agreedWorkspace !== setup.workspace) {
    throw refuse(
      setup.workspace === null
        ? 'its sandboxes have no workspace'
        : `its sandboxes have the workspace at ${setup.workspace}, which cannot be elsewhere`,
    )
  }
  if (agreedWorkspace !== null) refuseWorkspace(state, agreedWorkspace)
  // Files of the host that are younger are not overwritten from a sandbox, whatever time it is where the file comes from.
  const since = Math.min(setup.since, Date.now())
  return { ...setup, base: agreedBase, workspace: agreedWorkspace, since }
}

/** What everything is called here: as in the file, unless that is taken. */
class Names {
  readonly #names = new Map<string, string>()
  readonly #checkpoints: readonly string[]

  constructor({ store }: State, { layers, images, checkpoints }: Manifest) {
    const isTaken = (id: string): boolean => Boolean(store.checkpoints.get(id) ?? store.images.get(id))
    this.#checkpoints = checkpoints.map(({ id }) => id)
    for (const id of [...this.#checkpoints, ...images.map((image) => image.id)]) {
      this.#names.set(id, isTaken(id) ? newCheckpointId() : id)
    }
    for (const { id } of layers) this.#names.set(`layer ${id}`, newLayerId())
    for (const { sandbox } of checkpoints) {
      if (this.#names.has(sandbox)) continue
      const isKnown = store.sandboxes.get(sandbox) ?? store.checkpoints.ofSandbox(sandbox)[0]
      this.#names.set(sandbox, isKnown ? newSandboxId() : sandbox)
    }
  }

  /** A checkpoint, an image or a sandbox. */
  of(id: string): string {
    return this.#names.get(id) ?? id
  }

  layer(id: string): string {
    return this.of(`layer ${id}`)
  }

  renamed(): Imported['renamed'] {
    return this.#checkpoints.flatMap((from) => (this.of(from) === from ? [] : [{ from, id: this.of(from) }]))
  }
}

interface Sizes {
  readonly bytes: ReadonlyMap<string, number>
  readonly warnings: readonly string[]
}

/** They get their names, and are read to the last page: one that is damaged must not be found out only when it is wanted. */
async function settleImages(
  { config, families }: State,
  family: string,
  { images, checkpoint, checkpoints }: Manifest,
  names: Names,
): Promise<Sizes> {
  const directory = path.join(families.directory(family), ROOM, 'images')
  const ids = images.map(({ id }) => id)
  const { enginePath } = config
  if (ids.some((id) => names.of(id) !== id)) {
    await renameImages(
      enginePath,
      directory,
      ids.map((id) => [id, names.of(id)]),
    )
  }
  const checked = await checkImages(
    enginePath,
    directory,
    ids.map((id) => names.of(id)),
    undefined,
  )
  const damaged = checked.find((one) => !one.ok && (one.damaged || one.bytes === 0))
  if (damaged) throw invalidImport(damaged.detail)
  const wanted = checkpoints.find(({ id }) => id === checkpoint)?.image ?? null
  const unusable = checked.find((one) => one.detail !== '' && wanted !== null && one.id === names.of(wanted))
  return {
    bytes: new Map(checked.map(({ id, bytes }) => [id, bytes])),
    warnings: unusable
      ? [`its processes cannot be brought back here, its files can: ${unusable.detail}`]
      : [],
  }
}

async function differences({ manifest, setup }: Arrived): Promise<string[]> {
  const here = await hostFacts(setup.base)
  const there = manifest.host
  if (here.machine === there.machine && here.system === there.system) return []
  const from = `${there.system || 'an unknown system'} (${there.machine})`
  const to = `${here.system || 'an unknown system'} (${here.machine})`
  return [`files that nothing changed in the sandbox are those of ${to}, they were those of ${from}`]
}

interface Incoming extends Arrived {
  readonly family: string
  readonly names: Names
  readonly bytes: ReadonlyMap<string, number>
}

/** Rows of layers are there before their directories, as always; all else becomes visible at once, when the disk has it. */
async function takeIn(state: State, incoming: Incoming): Promise<void> {
  const { store, writer, config } = state
  const { family, manifest, names } = incoming
  store.transaction(() => {
    for (const { id, parent } of manifest.layers) {
      const below = parent === null ? null : names.layer(parent)
      store.layers.insert({
        id: names.layer(id),
        family,
        parent: below,
        state: 'merging',
        sandbox: null,
        target: null,
      })
    }
  })
  await writer.whileNothingIsWritten(async () => {
    await moveIn(state, incoming)
    if (config.sync) await run('sync', ['-f', state.families.directory(family)])
    store.transaction(() => insertRows(state, incoming))
  })
  if (config.sync) await store.sync()
  for (const { id } of manifest.layers) state.upkeep.frozen(names.layer(id))
  for (const { id, sandbox } of manifest.checkpoints) {
    const about = { sandbox: names.of(sandbox), checkpoint: names.of(id) }
    state.events.emit({ type: 'checkpoint.created', ...about })
    state.events.emit({ type: 'checkpoint.durable', ...about })
  }
}

async function moveIn(state: State, { family, manifest, setup, names, bytes }: Incoming): Promise<void> {
  const layers = new LayerStore(state.paths.families)
  const images = new ImageStore(state.paths.families)
  const room = path.join(state.families.directory(family), ROOM)
  for (const { id } of manifest.layers) {
    const layer = { family, id: names.layer(id) }
    await rename(path.join(room, 'layers', id), layers.directory(layer))
    const [missing] = await layers.missingTrees(layer, treesOf(setup))
    if (missing !== undefined) throw invalidImport(`layer ${id} has no ${missing}`)
  }
  await rename(path.join(room, 'images'), images.allOf(family))
  for (const { id, needs } of manifest.images) {
    const record = { family, id: names.of(id), bytes: bytes.get(names.of(id)) ?? 0 }
    await images.record({ ...record, needs: needs.map((other) => names.of(other)) })
  }
  await removeTree(room)
}

function insertRows({ store }: State, incoming: Incoming): void {
  const { family, manifest, setup, names, bytes } = incoming
  store.families.setSetup(family, setup)
  for (const { id, bytes: size, files } of manifest.layers) {
    store.layers.freeze(names.layer(id), size === null ? undefined : { bytes: size, files: files ?? 0 })
  }
  for (const { id, needs } of manifest.images) {
    store.images.adopt(names.of(id), family)
    const others = needs.map((other) => names.of(other))
    store.images.setOnDisk(names.of(id), bytes.get(names.of(id)) ?? 0, others)
  }
  for (const row of manifest.checkpoints) store.checkpoints.insert(checkpointRow(row, incoming))
  for (const { checkpoint, pid, ...command } of manifest.commands) {
    const sandbox = names.of(checkpoint)
    store.processes.insert({ ...command, sandbox })
    if (pid !== null) store.processes.setPid(sandbox, command.id, pid)
  }
}

function checkpointRow(row: Manifest['checkpoints'][number], { family, names }: Incoming): CheckpointRow {
  return {
    ...row,
    family,
    id: names.of(row.id),
    sandbox: names.of(row.sandbox),
    parent: row.parent && names.of(row.parent),
    layer: row.layer && names.layer(row.layer),
    image: row.image && names.of(row.image),
    internal: false,
    durable: true,
  }
}

/** The engine's, and what the kernel says to names, links and attributes that no sandbox could have made. */
const OF_THE_FILE = new Set(
  'bad_request damaged version no_such_image EEXIST EINVAL EPERM ENAMETOOLONG ENOTSUP ERANGE E2BIG EFBIG EMLINK'.split(
    ' ',
  ),
)

function explainImport(error: unknown): DeltaBoxError {
  return error instanceof TransferError && OF_THE_FILE.has(error.code)
    ? invalidImport(error.message, error)
    : toDeltaBoxError(error)
}
