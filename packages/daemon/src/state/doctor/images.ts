/** Images: their files, read to the last page, their records, and what they need of each other. */
import { type CheckedImage, checkImages } from '../../deltacr/check-images.js'
import type { ImageRow } from '../image-table.js'
import { repairImage } from './repair-image.js'
import type { Examination, Finding, Subject } from './subject.js'
import type { Survey } from './survey.js'

/** An image that is said to be on disk, or the file of one that has no row, and that others need. */
interface Expected extends Pick<ImageRow, 'id' | 'family'> {
  /** Null where no row tells. */
  readonly bytes: number | null
}

/** What is wrong with the file itself. */
type Fault = Pick<Finding, 'kind' | 'detail'>

export async function examineImages(subject: Subject, survey: Survey): Promise<Examination> {
  const expected = await expectedFiles(subject, survey)
  const checked = await readFiles(subject, expected)
  const faults = new Map<string, Fault>()
  for (const one of expected) {
    const fault = await faultOf(subject, one, checked.get(one.id))
    if (fault) faults.set(one.id, fault)
  }
  for (const [id, fault] of needFaults(survey, expected, faults)) faults.set(id, fault)
  const roots = rootsOf(survey, faults)
  const findings: Finding[] = []
  for (const one of expected) {
    const fault = faults.get(one.id)
    if (fault && roots.has(one.id)) findings.push(damageOf(subject, survey, one, fault))
    else if (!fault) findings.push(...(await examineRecord(subject, survey, one, checked.get(one.id))))
  }
  const bytes = [...checked.values()].reduce((sum, image) => sum + image.bytes, 0)
  const detail = `${expected.length} images, ${bytes} bytes read`
  return { name: 'images', detail, findings: findings.filter((found) => isStillTrue(subject, found)) }
}

async function expectedFiles({ imageStore }: Subject, survey: Survey): Promise<Expected[]> {
  const rows = [...survey.images.values()].filter(isOnDisk)
  const expected: Expected[] = rows.map(({ id, family, diskBytes }) => ({ id, family, bytes: diskBytes }))
  for (const [id, family] of survey.namedImages()) {
    if (survey.images.has(id) || (await imageStore.sizeOf({ id, family })) === undefined) continue
    expected.push({ id, family, bytes: null })
  }
  return expected
}

function isOnDisk({ diskBytes, state }: ImageRow): boolean {
  return diskBytes !== null && state !== 'lost'
}

async function readFiles(
  { config, imageStore, running }: Subject,
  expected: readonly Expected[],
): Promise<Map<string, CheckedImage>> {
  const checked = new Map<string, CheckedImage>()
  for (const family of new Set(expected.map((one) => one.family))) {
    const ids = expected.filter((one) => one.family === family).map(({ id }) => id)
    const signal = running?.stopping.signal
    const images = await checkImages(config.enginePath, imageStore.allOf(family), ids, signal)
    for (const image of images) checked.set(image.id, image)
  }
  return checked
}

async function faultOf(
  { imageStore }: Subject,
  one: Expected,
  checked: CheckedImage | undefined,
): Promise<Fault | undefined> {
  if ((await imageStore.sizeOf(one)) === undefined) {
    return { kind: 'image_missing', detail: 'its file is not there' }
  }
  if (checked?.ok) return undefined
  const detail = checked?.detail ?? 'it was not read'
  return { kind: checked?.damaged ? 'image_damaged' : 'image_unreadable', detail }
}

/** Those whose own files are whole, but not all that they have pages in is there. */
function needFaults(
  survey: Survey,
  expected: readonly Expected[],
  faults: ReadonlyMap<string, Fault>,
): Map<string, Fault> {
  const there = new Set(expected.map(({ id }) => id))
  const found = new Map<string, Fault>()
  for (const { image, needs } of survey.needs) {
    if (!there.has(image) || there.has(needs) || faults.has(image)) continue
    const why = survey.images.has(needs) ? 'is lost' : 'is not known'
    const detail = `it has pages in the file of ${needs}, which ${why}`
    found.set(image, { kind: 'image_need_missing', detail })
  }
  return found
}

/** The engine tells of one that stands on a damaged one too: the damage is told once. */
function rootsOf(survey: Survey, faults: ReadonlyMap<string, Fault>): Set<string> {
  const following = new Set<string>()
  const roots = new Set<string>()
  // What is needed is older, and comes first.
  for (const id of faults.keys()) {
    if (following.has(id)) continue
    roots.add(id)
    for (const other of survey.dependents(id)) {
      if (other === id) continue
      following.add(other)
      roots.delete(other)
    }
  }
  return roots
}

function damageOf(subject: Subject, survey: Survey, { id, family }: Expected, fault: Fault): Finding {
  const found = { ...fault, family, object: id, checkpoints: survey.havingImage(id) }
  // Another engine, or another moment, may find it whole.
  if (fault.kind === 'image_unreadable') return found
  return { ...found, repair: () => repairImage(subject, { id, family, reason: fault.detail }) }
}

async function examineRecord(
  { store, imageStore }: Subject,
  survey: Survey,
  one: Expected,
  checked: CheckedImage | undefined,
): Promise<Finding[]> {
  const { id, family } = one
  const bytes = checked?.bytes ?? 0
  const about = (): Pick<Finding, 'family' | 'object' | 'checkpoints'> => {
    return { family, object: id, checkpoints: survey.havingImage(id) }
  }
  if (one.bytes === null) {
    const detail = 'its file is whole and needed, but it is not known'
    const repair = async (): Promise<void> => {
      const needs = (await imageStore.readRecord(one))?.needs ?? []
      store.transaction(() => {
        store.images.adopt(id, family)
        store.images.setOnDisk(id, bytes, needs)
      })
    }
    return [{ kind: 'image_row_missing', ...about(), detail, repair }]
  }
  const record = await imageStore.readRecord(one)
  if (record?.id === id && record.family === family && record.bytes === bytes && one.bytes === bytes)
    return []
  const repair = async (): Promise<void> => {
    const needs = store.images.needsOf(id)
    await imageStore.record({ id, family, bytes, needs })
    store.transaction(() => store.images.setOnDisk(id, bytes, needs))
  }
  const [kind, detail] =
    record === null
      ? (['image_record_missing', 'its file is whole, but has no record'] as const)
      : ([
          'image_record_wrong',
          `its file is whole and has ${bytes} bytes, its record says otherwise`,
        ] as const)
  return [{ kind, ...about(), detail, repair }]
}

/** What a running daemon has removed or brought to disk again meanwhile is no problem. */
function isStillTrue({ store, running }: Subject, { kind, object }: Finding): boolean {
  if (!running || kind === 'image_row_missing') return true
  const row = store.images.get(object)
  return row !== undefined && isOnDisk(row) && !store.images.unneeded().some(({ id }) => id === object)
}
