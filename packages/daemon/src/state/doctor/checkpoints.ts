/** Checkpoints: what their rows name is known. */
import type { CheckpointRow } from '../checkpoint-table.js'
import type { Examination, Finding, Subject } from './subject.js'
import type { Survey } from './survey.js'

export function examineCheckpoints(subject: Subject, survey: Survey): Examination {
  const known = new Set(survey.checkpoints.map(({ id }) => id))
  const findings = survey.checkpoints.flatMap((row) => [
    ...examineParent(row, known),
    ...examineLayer(row, survey),
    ...examineImage(subject, row, survey),
  ])
  return { name: 'checkpoints', detail: `${known.size} checkpoints`, findings }
}

function examineParent({ id, family, parent }: CheckpointRow, known: ReadonlySet<string>): Finding[] {
  if (parent === null || known.has(parent)) return []
  const detail = `it was taken from ${parent}, which is not known; its own state is whole`
  return [{ kind: 'checkpoint_parent_missing', family, object: id, checkpoints: [], detail }]
}

function examineLayer({ id, family, layer }: CheckpointRow, survey: Survey): Finding[] {
  const state = layer === null ? 'frozen' : survey.layers.get(layer)?.state
  if (state === 'frozen') return []
  const detail = `its files are those of ${layer}, which is ${state === undefined ? 'not known' : `${state}, not frozen`}`
  return [{ kind: 'checkpoint_layer_missing', family, object: id, checkpoints: [id], detail }]
}

/** Its row comes again where its file is whole. */
function examineImage({ store }: Subject, { id, family, image }: CheckpointRow, survey: Survey): Finding[] {
  if (image === null || survey.images.has(image)) return []
  const detail = `its processes are those of ${image}, which is not known; its files are whole`
  const repair = async (): Promise<void> => {
    if (!store.images.get(image)) throw new Error('there is no whole file of it')
  }
  return [{ kind: 'checkpoint_image_missing', family, object: id, checkpoints: [id], detail, repair }]
}
