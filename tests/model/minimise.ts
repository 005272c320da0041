/** Takes away of a failing sequence what it fails without: halves first, single operations at the end (ddmin). */
import type { Operation } from './operations.js'

export async function minimise(
  operations: readonly Operation[],
  stillFails: (operations: readonly Operation[]) => Promise<boolean>,
): Promise<readonly Operation[]> {
  let rest = operations
  for (let size = Math.ceil(rest.length / 2); size >= 1; size = Math.floor(size / 2)) {
    // The last is what fails. Of what comes before, the end matters most often: it goes last.
    for (let at = 0; at < rest.length - 1; ) {
      const without = [...rest.slice(0, at), ...rest.slice(Math.min(at + size, rest.length - 1))]
      if (await stillFails(without)) rest = without
      else at += size
    }
  }
  return rest
}
