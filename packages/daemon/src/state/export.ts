/** A checkpoint and all it descends from, as one stream of bytes (docs/export-format.md). */
import type { Readable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { DeltaBoxError, MANIFEST_FORMAT, type Manifest } from '@deltabox/protocol'
import { packState } from '../engine/transfer.js'
import type { CheckpointRow } from './checkpoint-table.js'
import { findCheckpoint } from './checkpoints.js'
import { firstUid } from './families.js'
import { type HostFacts, hostFacts } from './host.js'
import type { LayerRow } from './layer-table.js'
import type { State } from './state.js'

export async function exportCheckpoint(state: State, reference: string): Promise<Readable> {
  const { id, family } = findCheckpoint(state, reference)
  await bringToDisk(state, id)
  const setup = state.store.families.get(family)?.setup
  const host = await hostFacts(setup?.base ?? '/')
  return await pack(state, id, host)
}

/** Its own processes, even if they were not to reach the disk; those of the others are on their way, or not to be had. */
async function bringToDisk(state: State, checkpoint: string): Promise<void> {
  for (const { id, image } of lineOf(state, checkpoint)) {
    const row = image === null ? undefined : state.store.images.get(image)
    if (!row || row.diskBytes !== null || (!row.toDisk && id !== checkpoint)) continue
    try {
      await state.images.bringToDisk(row.id)
    } catch (cause) {
      const why = `the processes of ${id} are not on disk: ${(cause as Error).message}`
      throw new DeltaBoxError('export_failed', `cannot export ${checkpoint}: ${why}`, { cause })
    }
  }
}

/** Nothing is waited for from where the rows are read until what they name is held. */
async function pack(state: State, checkpoint: string, host: HostFacts): Promise<Readable> {
  const { family, id } = findCheckpoint(state, checkpoint)
  const row = state.store.families.get(family)
  if (!row?.setup) throw new Error(`family ${family} has no base`)
  const line = lineOf(state, id)
  const layers = layersOf(state, line)
  const images = imagesOf(state, line)
  const manifest: Manifest = {
    format: MANIFEST_FORMAT,
    checkpoint: id,
    host,
    setup: { ...row.setup, masks: [...row.setup.masks] },
    layers: layers.map(({ id, parent, bytes, files }) => ({ id, parent, bytes, files })),
    images: images.map((id) => ({ id, needs: state.store.images.needsOf(id) })),
    checkpoints: line.map((one) => told(one, images)),
    commands: line.flatMap((one) => commandsOf(state, one.id)),
  }
  const stream = packState({
    enginePath: state.config.enginePath,
    directory: state.families.directory(family),
    uidBase: firstUid(row.slot),
    images,
    layers: layers.map((layer) => layer.id),
    tell: JSON.stringify(manifest),
  })
  hold(state, family, layers, stream).then(
    () => state.log.info({ checkpoint: id, checkpoints: line.length }, 'exported'),
    (error) => state.log.warn({ checkpoint: id, err: error }, 'an export ended early'),
  )
  return stream
}

/** Until the last byte is read, or nobody wants the rest. */
async function hold(
  { families, layers, images }: State,
  family: string,
  chain: readonly LayerRow[],
  stream: Readable,
): Promise<void> {
  const work = (): Promise<void> => finished(stream)
  await families.keeping(family, () => layers.holding(chain, () => images.keepingFiles(work)))
}

/** Oldest first. */
function lineOf({ store }: State, id: string): CheckpointRow[] {
  const line: CheckpointRow[] = []
  for (let at: string | null = id; at !== null; ) {
    const row: CheckpointRow | undefined = store.checkpoints.get(at)
    if (!row) break
    line.push(row)
    at = row.parent
  }
  return line.reverse()
}

/** All that any of them stands on, what is below first. */
function layersOf({ store }: State, line: readonly CheckpointRow[]): LayerRow[] {
  const layers = new Map<string, LayerRow>()
  for (const { layer } of line) {
    const above: LayerRow[] = []
    for (let at = layer; at !== null && !layers.has(at); ) {
      const row = store.layers.get(at)
      if (!row) throw new Error(`there is no layer ${at}`)
      above.push(row)
      at = row.parent
    }
    for (const row of above.reverse()) layers.set(row.id, row)
  }
  return [...layers.values()]
}

/** Those of the line that are on disk, and in whose files they have pages, which stand before them. */
function imagesOf({ store }: State, line: readonly CheckpointRow[]): string[] {
  const images = new Set<string>()
  const visit = (id: string): void => {
    if (images.has(id)) return
    for (const other of store.images.needsOf(id)) visit(other)
    images.add(id)
  }
  for (const { image } of line) {
    const row = image === null ? undefined : store.images.get(image)
    if (row && row.diskBytes !== null && row.state === 'ready') visit(row.id)
  }
  return [...images]
}

function told(row: CheckpointRow, images: readonly string[]): Manifest['checkpoints'][number] {
  const { family: _family, internal: _internal, durable: _durable, image, ...rest } = row
  return { ...rest, image: image !== null && images.includes(image) ? image : null }
}

function commandsOf({ store }: State, checkpoint: string): Manifest['commands'] {
  return store.processes
    .ofSandbox(checkpoint)
    .map(({ id, pid, command, tty, waitsForReader, deadline, startedAt }) => {
      return { checkpoint, id, pid, command: [...command], tty, waitsForReader, deadline, startedAt }
    })
}
