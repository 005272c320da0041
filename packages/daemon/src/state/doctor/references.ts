/** What counts who needs what: nobody is named that is not there, and nothing stays that nobody needs. */

import path from 'node:path'
import { isThere } from '../../is-there.js'
import type { Need } from '../loose-end-table.js'
import { type Examination, type Finding, hasEngine, type Subject } from './subject.js'
import type { Survey } from './survey.js'

export async function examineReferences(subject: Subject, survey: Survey): Promise<Examination> {
  const findings = [
    ...(await examineFamilies(subject, survey)),
    ...examineNeeds(subject, survey),
    ...examineHolds(subject),
    ...(await examineHeads(subject)),
    ...(await examineUnneeded(subject)),
  ]
  return { name: 'references', detail: `${survey.needs.length} needs of images`, findings }
}

/** One whose directory is there with checkpoints in it is left to whoever can tell what became of it. */
async function examineFamilies({ store, paths }: Subject, survey: Survey): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const family of store.looseEnds.goneFamilies()) {
    const checkpoints = survey.checkpoints.filter((row) => row.family === family).map(({ id }) => id)
    const hasDirectory = await isThere(path.join(paths.families, family))
    const detail = `there are rows of the family ${family}, which is not known${hasDirectory ? '; its directory is there' : ''}`
    const repair = async (): Promise<void> =>
      store.transaction(() => {
        store.looseEnds.removeFamily(family)
        store.forgetFamily(family)
      })
    const isRepairable = !hasDirectory || checkpoints.length === 0
    const found = { kind: 'family_gone', family, object: family, checkpoints, detail } as const
    findings.push(isRepairable ? { ...found, repair } : found)
  }
  return findings
}

/** That an image needs one that is lost is told with the image. */
function examineNeeds({ store }: Subject, survey: Survey): Finding[] {
  return store.looseEnds.needs().map((need) => {
    const { image, needs } = need
    const object = survey.images.has(image) ? needs : image
    return {
      kind: 'need_without_image',
      family: survey.images.get(image)?.family ?? survey.images.get(needs)?.family ?? '',
      object,
      checkpoints: survey.havingImage(image),
      detail: `${image} needs ${needs}; ${object} is not known`,
      repair: async () => removeNeed(store, need),
    }
  })
}

/** What was done about the image itself comes first. */
function removeNeed(store: Subject['store'], need: Need): void {
  const row = store.images.get(need.image)
  if (store.images.get(need.needs) && row) return
  if (row && row.state !== 'lost' && row.diskBytes !== null) {
    throw new Error(`${need.image} is not whole without it`)
  }
  store.looseEnds.removeNeed(need)
}

function examineHolds({ store }: Subject): Finding[] {
  return store.looseEnds.holds().map((hold) => ({
    kind: 'hold_without_layer',
    family: store.layers.get(hold.holder)?.family ?? '',
    object: hold.layer,
    checkpoints: [],
    detail: `${hold.holder} holds the layer ${hold.layer}, which is not known`,
    repair: async () => store.looseEnds.removeHold(hold),
  }))
}

async function examineHeads({ store, layerStore }: Subject): Promise<Finding[]> {
  const kind = 'sandbox_head_missing'
  const findings: Finding[] = store.looseEnds.headless().map(({ sandbox, family, head }) => {
    const detail = `it writes to the layer ${head}, which is not known`
    return { kind, family, object: sandbox, checkpoints: [], detail }
  })
  for (const { id, family, head, state } of store.sandboxes.all()) {
    if ((state !== 'running' && state !== 'dead') || !store.layers.get(head)) continue
    const directory = layerStore.directory({ family, id: head })
    if ((await isThere(directory)) || store.sandboxes.get(id)?.head !== head) continue
    findings.push({ kind, family, object: id, checkpoints: [], detail: `there is no ${directory}` })
  }
  return findings
}

/** A running daemon removes them in the background; one that an engine has goes with it. */
async function examineUnneeded(subject: Subject): Promise<Finding[]> {
  const { store, running, imageStore } = subject
  await running?.images.settled()
  const findings: Finding[] = []
  for (const row of store.images.unneeded()) {
    if (running?.images.isUsed(row.id) || (row.inMemory && (await hasEngine(subject, row.family)))) continue
    const repair = async (): Promise<void> => {
      if (running) {
        running.images.removeUnneeded()
        return await running.images.settled()
      }
      await imageStore.remove(row)
      store.images.remove(row.id)
    }
    const detail = 'no checkpoint has it, and no image has pages in its file'
    const about = { family: row.family, object: row.id, checkpoints: [] }
    findings.push({ kind: 'image_unneeded', ...about, detail, repair })
  }
  return findings
}
