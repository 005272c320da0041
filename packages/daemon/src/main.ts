/** The daemon: `node main.js` serves until it is told to stop, `node main.js doctor` checks the machine,
 * `node main.js doctor --store` the data directory. */
import { setMaxListeners } from 'node:events'
import { DeltaBoxError, type DoctorReport, type StoreReport } from '@deltabox/protocol'
import { pino } from 'pino'
import { type Config, readConfig } from './config.js'
import { examine } from './doctor.js'
import { type App, buildServer, listenOnSocket, listenOnTcp } from './http/server.js'
import { announceDaemon, existingDirectories, prepareDirectories, withdrawDaemon } from './state/data-dir.js'
import { DiskGuard } from './state/disk-guard.js'
import { examineStore } from './state/doctor/examine-store.js'
import { subjectOf } from './state/doctor/subject.js'
import { errorBody } from './state/error-body.js'
import { Pressure } from './state/pressure.js'
import { recover } from './state/recover.js'
import { createState, type State } from './state/state.js'
import { openStore } from './state/store.js'
import { version } from './version.js'

/** Requests that are being answered get this long before their connections are closed. */
const DRAIN_MS = 5000
const IDLE_MS = 50

interface Daemon {
  readonly state: State
  readonly guard: DiskGuard
  readonly pressure: Pressure
  readonly servers: readonly App[]
}

async function main(): Promise<void> {
  const config = readConfig(process.argv.slice(2), process.env)
  if (config.command === 'doctor') report(await examine(config))
  else if (config.command === 'doctor-store') report(await examineClosedStore(config))
  else await serve(config)
}

function report(told: DoctorReport | StoreReport): void {
  process.stdout.write(`${JSON.stringify(told, undefined, 2)}\n`)
  process.exitCode = told.ok ? 0 : 1
}

/** While no daemon runs: the store is locked like a daemon's, so that none starts meanwhile. */
async function examineClosedStore(config: Config): Promise<StoreReport> {
  requireRoot()
  const paths = await existingDirectories(config)
  const store = await openStore(paths)
  try {
    return await examineStore(subjectOf({ config, paths, store }, undefined), config)
  } finally {
    store.close()
  }
}

async function serve(config: Config): Promise<void> {
  requireRoot()
  const log = pino({ level: config.logLevel }, pino.destination({ fd: 2, sync: true }))
  const paths = await prepareDirectories(config)
  const store = await openStore(paths)
  const state = createState(config, paths, log, store)
  setMaxListeners(0, state.stopping.signal)
  await recover(state)
  const servers = await buildServers(config, state, stopOnce)
  const daemon = { state, guard: new DiskGuard(state), pressure: new Pressure(state), servers }
  state.url = await listen(daemon, config)
  await announceDaemon(paths, { pid: process.pid, url: state.url, version })
  process.stdout.write(`ready ${state.url}\n`)
  log.info({ url: state.url, dataDir: paths.dataDir, version }, 'daemon ready')
  state.families.refill()
  state.upkeep.start().catch(fail)
  state.retention.start()
  await daemon.guard.start()
  daemon.pressure.start()
  process.on('SIGTERM', stopOnce).on('SIGINT', stopOnce)

  function stopOnce(): void {
    if (state.stopping.signal.aborted) return
    stop(daemon).catch(fail)
  }
}

function requireRoot(): void {
  if (process.getuid?.() === 0) return
  throw new DeltaBoxError(
    'needs_root',
    `the daemon runs as user ${process.getuid?.()}; it makes namespaces and mounts`,
  )
}

async function buildServers(config: Config, state: State, shutdown: () => void): Promise<App[]> {
  const servers = [await buildServer(state, { token: undefined, shutdown })]
  if (config.listen) servers.push(await buildServer(state, { token: config.token, shutdown }))
  return servers
}

/** Returns the address to announce: the socket, which needs no token. */
async function listen({ state, servers }: Daemon, config: Config): Promise<string> {
  const [local, tcp] = servers as [App, App?]
  if (tcp && config.listen) {
    state.log.info({ url: await listenOnTcp(tcp, config.listen) }, 'listening on TCP')
  }
  return listenOnSocket(local, state.paths.socket)
}

/** Sandboxes go on; the next daemon picks them up. */
async function stop({ state, guard, pressure, servers }: Daemon): Promise<void> {
  state.log.info('daemon stops')
  state.stopping.abort()
  pressure.stop()
  await guard.stop()
  const deadline = setTimeout(() => {
    for (const app of servers) app.server.closeAllConnections()
  }, DRAIN_MS)
  // Closing ends the connections that are idle now; one that is kept alive may become so a moment later.
  const idle = setInterval(() => {
    for (const app of servers) app.server.closeIdleConnections()
  }, IDLE_MS)
  await Promise.all(servers.map((app) => app.close()))
  clearTimeout(deadline)
  clearInterval(idle)
  state.afterwards.stop()
  await state.retention.stop()
  state.merges.stop()
  state.writer.stop()
  state.upkeep.stop()
  await state.layers.stop()
  await state.families.stop()
  state.running.stopTimers()
  state.store.close()
  await withdrawDaemon(state.paths)
  state.log.info('daemon stopped')
}

/** One line as the log's others: whoever started the daemon finds the reason there. */
function fail(fault: unknown): void {
  const { error } = errorBody(fault)
  const { stack } = fault as Error
  const line = { level: 60, time: Date.now(), pid: process.pid, error, stack, msg: error.message }
  process.stderr.write(`${JSON.stringify(line)}\n`)
  process.exit(1)
}

main().catch(fail)
