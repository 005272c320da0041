/** All of them, in the order in which they take turns. */
import type { Contender } from './contender.js'
import { copyAndReplay } from './copy-and-replay.js'
import { criu } from './criu.js'
import { criuContainer } from './criu-container.js'
import { deltabox } from './deltabox.js'
import { gitAndRestart } from './git-and-restart.js'
import { gvisor } from './gvisor.js'
import { layerAndRestart } from './layer-and-restart.js'

export const contenders: readonly Contender[] = [
  deltabox,
  criu,
  criuContainer,
  gvisor,
  copyAndReplay,
  layerAndRestart,
  gitAndRestart,
]
