import { lstat } from 'node:fs/promises'

/** A link counts wherever it leads. */
export async function isThere(name: string): Promise<boolean> {
  try {
    await lstat(name)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}
