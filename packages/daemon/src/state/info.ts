import { type DaemonInfo, PROTOCOL_VERSION } from '@deltabox/protocol'
import { version } from '../version.js'
import type { State } from './state.js'

export function daemonInfo(state: State): DaemonInfo {
  return {
    version,
    protocol: PROTOCOL_VERSION,
    pid: process.pid,
    url: state.url,
    dataDir: state.paths.dataDir,
    startedAt: state.startedAt.toISOString(),
    sandboxes: state.store.sandboxes.all().filter((row) => row.state === 'running').length,
  }
}
