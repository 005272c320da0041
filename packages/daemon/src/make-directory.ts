import { mkdir } from 'node:fs/promises'

/** Ours alone, if it is not there. What holds it is: `mkdir -p` of Node's takes a full disk for a directory that is missing. */
export async function makeDirectory(directory: string): Promise<void> {
  try {
    await mkdir(directory, { mode: 0o700 })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}
