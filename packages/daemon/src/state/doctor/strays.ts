/** What is on the disk that no row knows. A row is there before its directory, and goes after it: so the disk is listed first. */

import path from 'node:path'
import { removeTree } from '../../deltafs/remove-tree.js'
import { isThere } from '../../is-there.js'
import { namesIn } from '../../names-in.js'
import { type Examination, type Finding, hasEngine, type Subject } from './subject.js'
import type { Survey } from './survey.js'

/** What an engine has while it writes or reads an image. */
const OF_ENGINE = /^room-|\.part$/

export async function examineStrays(subject: Subject, survey: Survey): Promise<Examination> {
  const families = await namesIn(subject.paths.families)
  const findings = await familyStrays(subject, survey, families)
  for (const { id } of subject.store.families.all()) {
    findings.push(
      ...(await layerStrays(subject, survey, id)),
      ...(await sandboxStrays(subject, id)),
      ...(await imageStrays(subject, survey, id)),
    )
  }
  return { name: 'strays', detail: `${families.length} families on the disk`, findings }
}

async function familyStrays(subject: Subject, survey: Survey, names: string[]): Promise<Finding[]> {
  const { store, paths } = subject
  const findings: Finding[] = []
  for (const name of names) {
    const hasCheckpoints = survey.checkpoints.some(({ family }) => family === name)
    if (store.families.get(name) || hasCheckpoints) continue
    const found = await strayOf(subject, name, path.join(paths.families, name))
    const mayRun = found && (await isThere(path.join(paths.runDir, `e-${name}.sock`)))
    if (mayRun) {
      const { repair: _, ...told } = found
      findings.push({ ...told, detail: `${told.detail}; its engine may run: the next daemon ends it` })
    } else if (found) findings.push(found)
  }
  return findings
}

/** One that others stand on is none, even if it has no row. */
async function layerStrays(subject: Subject, survey: Survey, family: string): Promise<Finding[]> {
  const { layerStore, store } = subject
  const named = survey.namedLayers()
  const names = await layerStore.list(family)
  const strays = names.filter((id) => !store.layers.get(id) && !named.has(id))
  return await straysOf(subject, family, layerStore.allOf(family), strays)
}

async function sandboxStrays(subject: Subject, family: string): Promise<Finding[]> {
  const directory = path.join(subject.paths.families, family, 'sandboxes')
  const names = await namesIn(directory)
  const strays = names.filter((id) => !subject.store.sandboxes.get(id))
  return await straysOf(subject, family, directory, strays)
}

/** One that checkpoints or others need is none, even if it has no row. */
async function imageStrays(subject: Subject, survey: Survey, family: string): Promise<Finding[]> {
  const { imageStore, store, running } = subject
  const look = async (): Promise<Finding[]> => {
    const known = new Set([
      ...store.images.ofFamily(family).map(({ id }) => id),
      ...survey.namedImages().keys(),
    ])
    const strays = await imageStore.strays(family, known)
    const isLive = await hasEngine(subject, family)
    const ofNobody = strays.filter((name) => !(isLive && OF_ENGINE.test(name)))
    const found = await straysOf(subject, family, imageStore.allOf(family), ofNobody)
    return found.map((one) => ({ ...one, repair: () => removeUnused(subject, one) }))
  }
  return running ? await running.writer.whileNothingIsWritten(look) : await look()
}

async function removeUnused(subject: Subject, { family, object }: Finding): Promise<void> {
  if (OF_ENGINE.test(object) && (await hasEngine(subject, family))) throw new Error('its engine has started')
  await removeTree(path.join(subject.paths.dataDir, object))
}

async function straysOf(
  subject: Subject,
  family: string,
  directory: string,
  names: readonly string[],
): Promise<Finding[]> {
  const found = await Promise.all(names.map((name) => strayOf(subject, family, path.join(directory, name))))
  return found.flatMap((one) => one ?? [])
}

async function strayOf(subject: Subject, family: string, stray: string): Promise<Finding | undefined> {
  if (!(await isThere(stray))) return undefined
  const object = path.relative(subject.paths.dataDir, stray)
  const repair = (): Promise<void> => removeTree(stray)
  return { kind: 'stray', family, object, checkpoints: [], detail: 'nothing knows of it', repair }
}
