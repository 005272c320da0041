/** What keeps checkpoints: on disk, and their processes in memory as far as there is room. */
import { ImageStore } from '../deltacr/image-store.js'
import type { Family } from './families.js'
import { ImageWriter } from './image-writer.js'
import { Images } from './images.js'
import { LayerUpkeep } from './layer-upkeep.js'
import { Pool } from './pool.js'
import type { State } from './state.js'

type Needed = Pick<
  State,
  'config' | 'paths' | 'log' | 'store' | 'events' | 'metrics' | 'families' | 'afterwards' | 'layers'
>

export type Keeping = Pick<State, 'upkeep' | 'images' | 'writer' | 'pool'>

/** `openBase` mounts what a family's sandboxes start from. */
export function createKeeping(needed: Needed, openBase: (family: Family) => Promise<unknown>): Keeping {
  const { compress, poolBytes, poolCount } = needed.config
  const disk = new ImageStore(needed.paths.families)
  const upkeep = new LayerUpkeep({ ...needed, disk })
  const pool = new Pool({ ...needed, limits: { bytes: poolBytes, count: poolCount } })
  const written = ({ id }: { readonly id: string }): void => {
    upkeep.written(id)
    pool.consider()
  }
  const writer = new ImageWriter({ ...needed, disk, compress, openBase, written })
  return { upkeep, pool, writer, images: new Images({ ...needed, disk, writer, pool, openBase }) }
}
