/** Everything that changes while the daemon runs, in one place. */
import type { Logger } from 'pino'
import type { Config } from '../config.js'
import { LayerStore } from '../deltafs/layer-store.js'
import { Afterwards } from './afterwards.js'
import { openBase } from './base.js'
import type { Paths } from './data-dir.js'
import { engineEvent, familyLost } from './engine-events.js'
import { Events } from './events.js'
import { Families } from './families.js'
import type { ImageWriter } from './image-writer.js'
import type { Images } from './images.js'
import { createKeeping } from './keeping.js'
import type { LayerUpkeep } from './layer-upkeep.js'
import { Layers } from './layers.js'
import { Merges } from './merges.js'
import { type Counts, Metrics } from './metrics.js'
import type { Pool } from './pool.js'
import { applyRetention } from './prune.js'
import { RetentionKeeper } from './retention.js'
import { RunningProcesses } from './running-process.js'
import { Serial } from './serial.js'
import { Spares } from './spares.js'
import type { Store } from './store.js'

export interface State {
  readonly config: Config
  readonly paths: Paths
  readonly log: Logger
  readonly store: Store
  readonly events: Events
  readonly metrics: Metrics
  readonly families: Families
  readonly afterwards: Afterwards
  readonly layers: Layers
  readonly upkeep: LayerUpkeep
  readonly merges: Merges
  readonly images: Images
  readonly writer: ImageWriter
  readonly pool: Pool
  readonly retention: RetentionKeeper
  readonly spares: Spares
  readonly running: RunningProcesses
  readonly serial: Serial
  readonly startedAt: Date
  /** Where it listens; set once it does. */
  url: string
  /** Aborted when the daemon stops: what streams without end ends. */
  readonly stopping: AbortController
}

export function createState(config: Config, paths: Paths, log: Logger, store: Store): State {
  const metrics = new Metrics(countsOf(store))
  const layerStore = new LayerStore(paths.families)
  const afterwards = new Afterwards(log)
  const families = new Families(config, paths, log, store, layerStore, {
    event: (event) => engineEvent(state, event),
    lost: (family, error) => familyLost(state, family, error),
    answered: (operation, failed) =>
      afterwards.add(() => metrics.engineRequests.inc({ operation, result: failed ? 'error' : 'ok' })),
  })
  const layers = new Layers(store, layerStore, log, afterwards)
  const events = new Events()
  const needed = { config, paths, log, store, events, metrics, families, afterwards, layers }
  const keeping = createKeeping(needed, (family) => openBase(state, family))
  const state: State = {
    config,
    paths,
    log,
    store,
    metrics,
    events,
    families,
    afterwards,
    layers,
    ...keeping,
    merges: new Merges({ config, log, store, families, layers, upkeep: keeping.upkeep }),
    retention: new RetentionKeeper({ log, store }, (sandbox) => applyRetention(state, sandbox)),
    spares: new Spares(log),
    running: new RunningProcesses(),
    serial: new Serial(),
    startedAt: new Date(),
    url: '',
    stopping: new AbortController(),
  }
  return state
}

function countsOf({ sandboxes, checkpoints, images }: Store): Counts {
  const inState = (state: string): number => sandboxes.all().filter((row) => row.state === state).length
  return {
    sandboxes: () => ({ running: inState('running'), dead: inState('dead') }),
    checkpoints: () => ({ pending: 0, ready: 0, durable: 0, failed: 0, ...checkpoints.counts() }),
    images: () => ({ memory: images.residentTotals().count, disk: images.onDisk().count }),
    imageBytes: () => ({ memory: images.residentTotals().bytes, disk: images.onDisk().bytes }),
  }
}
