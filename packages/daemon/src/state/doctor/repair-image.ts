/** An image whose file is not what was written: what an engine has in memory is written again, the rest is lost. */
import type { ImageRow } from '../image-table.js'
import { hasEngine, type Subject } from './subject.js'
import { surveyOf } from './survey.js'

interface Damage extends Pick<ImageRow, 'id' | 'family'> {
  readonly reason: string
}

export async function repairImage(subject: Subject, damage: Damage): Promise<void> {
  const { running } = subject
  if (running) {
    const again = await running.writer.whileNothingIsWritten(() => repairAll(subject, damage))
    for (const { id } of again) running.writer.consider(id)
  } else {
    await repairAll(subject, damage)
  }
}

/** The image and all that have pages in its file. Those that are to be written again. */
async function repairAll(subject: Subject, damage: Damage): Promise<ImageRow[]> {
  const { store } = subject
  const rows = surveyOf(store)
    .dependents(damage.id)
    .flatMap((id) => store.images.get(id) ?? [])
    .filter((row) => row.diskBytes !== null && row.state !== 'lost')
  const isLive = await hasEngine(subject, damage.family)
  const again = rows.filter((row) => isLive && row.inMemory && store.images.isWanted(row.id))
  if (!subject.running && again.length > 0) {
    throw new Error('its engine has it in memory: start the daemon and repair again')
  }
  if (again.length > 0) await forgetFiles(subject, damage.family, again)
  const kept = new Set(again)
  for (const row of rows) if (!kept.has(row)) lose(subject, row.id, damage)
  return again
}

/** First the engine: what it tells of a file later must not be of one that is gone. */
async function forgetFiles(
  { store, imageStore, running }: Subject,
  family: string,
  rows: readonly ImageRow[],
): Promise<void> {
  const images = rows.map(({ id }) => id)
  await running?.families.get(family)?.client.request('images.unstore', { images })
  for (const row of rows) await imageStore.remove(row)
  store.transaction(() => {
    for (const id of images) {
      store.images.setOffDisk(id)
      store.checkpoints.setVolatile(id)
    }
  })
}

function lose({ store, running }: Subject, id: string, damage: Damage): void {
  const reason =
    id === damage.id ? damage.reason : `it has pages in the file of ${damage.id}: ${damage.reason}`
  if (running) running.images.lose(id, reason)
  else store.images.setState(id, 'lost', reason)
}
