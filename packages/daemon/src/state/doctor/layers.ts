/** Layers: their directories and records, and the chains they make. */
import type { LayerRecord } from '../../deltafs/layer-store.js'
import type { LayerRow } from '../layer-table.js'
import { recordOf } from '../layer-upkeep.js'
import type { Examination, Finding, Subject } from './subject.js'
import type { Survey } from './survey.js'

export async function examineLayers(subject: Subject, survey: Survey): Promise<Examination> {
  const frozen = [...survey.layers.values()].filter(({ state }) => state === 'frozen')
  const outdated = new Set(subject.store.layers.outdated().map(({ id }) => id))
  const findings: Finding[] = [...examineChains(survey)]
  let waiting = 0
  for (const row of frozen) {
    const missing = await examineDirectory(subject, survey, row)
    const found = missing ?? (await examineRecord(subject, survey, row, outdated.has(row.id)))
    if (found === 'waits') waiting += 1
    else if (found && isStillTrue(subject, row.id)) findings.push(found)
  }
  const waits = waiting === 0 ? '' : `; the records of ${waiting} are yet to be written`
  return { name: 'layers', detail: `${frozen.length} frozen layers${waits}`, findings }
}

function* examineChains(survey: Survey): Iterable<Finding> {
  for (const { id, family, parent, state } of survey.layers.values()) {
    if (state === 'doomed' || parent === null) continue
    const below = survey.layers.get(parent)
    if (below && below.state !== 'doomed') continue
    const why = below ? 'is being removed' : 'is not known'
    const detail = `it stands on ${parent}, which ${why}`
    yield { kind: 'layer_parent_missing', family, object: id, checkpoints: survey.standingOn(id), detail }
  }
  for (const circle of survey.circles()) {
    const [object = ''] = circle
    const family = survey.layers.get(object)?.family ?? ''
    const detail = `its chain goes round in a circle: ${[...circle, object].join(' on ')}`
    yield { kind: 'layer_circle', family, object, checkpoints: survey.standingOn(object), detail }
  }
}

async function examineDirectory(
  { layerStore, store }: Subject,
  survey: Survey,
  row: LayerRow,
): Promise<Finding | undefined> {
  const setup = store.families.get(row.family)?.setup
  const missing = await layerStore.missingTrees(row, setup?.workspace == null ? 1 : 2)
  if (missing.length === 0) return undefined
  const detail = `${layerStore.directory(row)} has no ${missing.join(' and no ')}`
  const checkpoints = survey.standingOn(row.id)
  return { kind: 'layer_missing', family: row.family, object: row.id, checkpoints, detail }
}

async function examineRecord(
  subject: Subject,
  survey: Survey,
  row: LayerRow,
  isOutdated: boolean,
): Promise<Finding | 'waits' | undefined> {
  const record = await subject.layerStore.readRecord(row)
  const wrong = record ? difference(record, row) : 'cannot be understood'
  if (wrong === undefined) return undefined
  const checkpoints = survey.standingOn(row.id)
  const about = { family: row.family, object: row.id, checkpoints }
  const repair = (): Promise<void> => writeRecord(subject, row.id)
  if (record === null) {
    if (isYetToBeRecorded(subject, survey, checkpoints, row.id)) return 'waits'
    return { kind: 'layer_record_missing', ...about, detail: 'its directory has no layer.json', repair }
  }
  // It came to stand on another one, and that is written down in the background.
  if (isOutdated && record?.id === row.id && record.family === row.family) return 'waits'
  if (subject.store.layers.get(row.id)?.parent !== row.parent) return undefined
  return { kind: 'layer_record_wrong', ...about, detail: `its layer.json ${wrong}`, repair }
}

function difference(record: LayerRecord, row: LayerRow): string | undefined {
  const fields = ['id', 'family', 'parent'] as const
  const field = fields.find((name) => record[name] !== row[name])
  return field && `says ${field} ${JSON.stringify(record[field])}, it is ${JSON.stringify(row[field])}`
}

/** Records follow the freezing of layers; the next daemon writes those that one did not come to. */
function isYetToBeRecorded(
  { running }: Subject,
  survey: Survey,
  above: readonly string[],
  id: string,
): boolean {
  if (running?.upkeep.isToBeRecorded(id)) return true
  const standing = new Set(above)
  return !survey.checkpoints.some((row) => row.durable && standing.has(row.id))
}

/** What a running daemon has removed meanwhile, or is removing with all of its family, is no problem. */
function isStillTrue({ store, running }: Subject, id: string): boolean {
  return store.layers.get(id)?.state === 'frozen' && (!running || store.layers.isNeeded(id))
}

async function writeRecord({ store, layerStore }: Subject, id: string): Promise<void> {
  const row = store.layers.get(id)
  if (row?.state !== 'frozen') return
  await layerStore.record(recordOf(row))
  if (store.layers.get(id)?.parent === row.parent) store.layers.setUpToDate(id)
}
