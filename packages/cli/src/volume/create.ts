import { rm } from 'node:fs/promises'
import { DeltaBoxError, volumeImageOf } from 'deltabox'
import { ensureImage } from './image.js'
import { isMounted, mountImage } from './mount.js'

export interface Volume {
  readonly path: string
  readonly image: string
  readonly sizeBytes: number
  /** Whether the image was made now. */
  readonly created: boolean
  /** Whether it was mounted now. */
  readonly mounted: boolean
}

/** Makes what is missing of a volume: its image, its mount. After a reboot that is the mount. */
export async function createVolume(path: string, sizeBytes: number | undefined): Promise<Volume> {
  if (process.getuid?.() !== 0) {
    throw new DeltaBoxError('needs_root', `Mounting a volume at ${path} takes root`)
  }
  const image = volumeImageOf(path)
  const already = await isMounted(image, path)
  const { sizeBytes: size, created } = await ensureImage(image, sizeBytes)
  if (!already) {
    try {
      await mountImage(image, path)
    } catch (error) {
      if (created) await rm(image, { force: true })
      throw error
    }
  }
  return { path, image, sizeBytes: size, created, mounted: !already }
}
