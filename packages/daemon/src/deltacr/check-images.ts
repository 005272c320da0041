/** Whether the files of images are what was written: the engine reads them, page by page. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)
/** Their ids are arguments. */
const BATCH = 500
const OUTPUT_MAX_BYTES = 16 * 1024 * 1024

export interface CheckedImage {
  readonly id: string
  readonly ok: boolean
  /** What was read is not what was written; false too where it could not be read. */
  readonly damaged: boolean
  /** What is wrong with it, or that it is of another kernel. */
  readonly detail: string
  readonly bytes: number
}

export async function checkImages(
  enginePath: string,
  directory: string,
  ids: readonly string[],
  signal: AbortSignal | undefined,
): Promise<CheckedImage[]> {
  const checked: CheckedImage[] = []
  for (let at = 0; at < ids.length; at += BATCH) {
    const { stdout } = await run(
      enginePath,
      ['--check-images', directory, ...ids.slice(at, at + BATCH)],
      // The environment may hold the daemon's token.
      { maxBuffer: OUTPUT_MAX_BYTES, env: { PATH: process.env.PATH }, ...(signal ? { signal } : {}) },
    )
    checked.push(...(JSON.parse(stdout) as { images: CheckedImage[] }).images)
  }
  return checked
}
