/**
 * Which layers of a chain to put together. Every layer makes lookups slower, so there should be few; putting a layer
 * together costs a link for each of its files, so a large old one should not be copied again for every small new one.
 */

/** The newest stay as they are: sandboxes go back to them. */
const KEPT_NEWEST = 8
/** How much of the limit there should be after it, at most. */
const FILLED_AFTER = 0.75
/** An older layer is taken in as well while it has at most so many times the files of all newer ones taken. */
const GROWTH = 2

interface Layer {
  /** Null until measured. */
  readonly files: number | null
}

/** The layers to replace by one, of a chain that is newest first. Empty when the chain is short enough. */
export function layersToMerge<L extends Layer>(chain: readonly L[], depthLimit: number): L[] {
  if (chain.length <= depthLimit) return []
  const keptNewest = Math.min(KEPT_NEWEST, Math.floor(depthLimit / 2))
  const depthAfter = Math.max(keptNewest + 1, Math.floor(depthLimit * FILLED_AFTER))
  let end = keptNewest + 1 + chain.length - depthAfter
  let files = sumOf(chain.slice(keptNewest, end))
  for (; end < chain.length; end++) {
    const next = chain[end]?.files ?? 0
    if (next > GROWTH * files) break
    files += next
  }
  return chain.slice(keptNewest, end)
}

function sumOf(layers: readonly Layer[]): number {
  return layers.reduce((sum, { files }) => sum + (files ?? 0), 0)
}
