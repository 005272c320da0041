/** What an exported file tells of itself. It may come from anywhere: nothing in it is believed but what is checked here. */
import { DeltaBoxError, Manifest } from '@deltabox/protocol'
import Value from 'typebox/value'

export function invalidImport(why: string, cause?: unknown): DeltaBoxError {
  return new DeltaBoxError('import_invalid', `cannot import the file: ${why}`, { cause })
}

export function readManifest(told: string): Manifest {
  let value: unknown
  try {
    value = JSON.parse(told)
  } catch (cause) {
    throw invalidImport('what it tells of itself cannot be read', cause)
  }
  if (!Value.Check(Manifest, value)) {
    const [first] = Value.Errors(Manifest, value)
    throw invalidImport(
      `what it tells of itself is wrong at ${first?.instancePath || '/'}: ${first?.message}`,
    )
  }
  const wrong = inconsistency(value)
  if (wrong !== undefined) throw invalidImport(wrong)
  return value
}

/** Whatever names another names one that stands before it. */
function inconsistency({ checkpoint, layers, images, checkpoints, commands }: Manifest): string | undefined {
  const known = new Known()
  for (const { id, parent } of layers) known.add('layer', id, { layer: [parent] })
  for (const { id, needs } of images) known.add('image', id, { image: needs })
  for (const { id, parent, layer, image } of checkpoints) {
    known.add('checkpoint', id, { checkpoint: [parent], layer: [layer], image: [image] })
  }
  known.expect('the file', { checkpoint: [checkpoint] })
  for (const { id, checkpoint } of commands) {
    known.add('command', `${id} of ${checkpoint}`, { checkpoint: [checkpoint] })
  }
  return known.wrong
}

type Names = Readonly<Record<string, readonly (string | null)[]>>

class Known {
  readonly #known = new Set<string>()
  /** The first that was found. */
  wrong: string | undefined

  add(kind: string, id: string, named: Names): void {
    this.expect(`${kind} ${id}`, named)
    if (this.#known.has(`${kind} ${id}`)) this.wrong ??= `${kind} ${id} is there twice`
    this.#known.add(`${kind} ${id}`)
  }

  expect(who: string, named: Names): void {
    for (const [kind, ids] of Object.entries(named)) {
      const missing = ids.find((id) => id !== null && !this.#known.has(`${kind} ${id}`))
      if (missing !== undefined) this.wrong ??= `${who} names ${kind} ${missing}, which is not there`
    }
  }
}
