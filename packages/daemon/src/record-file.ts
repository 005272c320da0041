import { readFile } from 'node:fs/promises'

/** What is written beside a layer or an image. Null where there is none, undefined where it cannot be understood. */
export async function readRecordFile<T>(file: string, format: number): Promise<T | null | undefined> {
  try {
    const record = JSON.parse(await readFile(file, 'utf8'))
    return record?.format === format ? record : undefined
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}
