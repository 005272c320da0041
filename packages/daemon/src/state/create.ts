/** Making a sandbox. All or nothing: what a step made is undone when a later one fails. */
import { mkdir, realpath, stat } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { type CreatedSandbox, type CreateSandbox, DeltaBoxError, type ErrorCode } from '@deltabox/protocol'
import { planSeed } from '../deltafs/seed.js'
import { EngineError } from '../engine/client.js'
import type { BaseParameters, CreateParameters, Ok, Seed } from '../engine/messages.js'
import { explain } from './engine-errors.js'
import type { Family } from './families.js'
import { newLayerId, newSandboxId } from './ids.js'
import type { SandboxRow } from './sandbox-table.js'
import { getSandbox, requireFreeName } from './sandboxes.js'
import type { State } from './state.js'

const DEFAULT_PIDS = 2048
const DEFAULT_DISK_BYTES = 10 * 1024 ** 3

type NewSandbox = Omit<SandboxRow, 'engine' | 'reason' | 'state' | 'cgroups' | 'createdAt'>

export async function createSandbox(state: State, request: CreateSandbox): Promise<CreatedSandbox> {
  const started = performance.now()
  const sandbox = await resolveRequest(state, request)
  const seed = await seedFor(state, request, sandbox)
  const seeded = performance.now()
  const family = await state.families.take()
  const taken = performance.now()
  const engineTimings = await makeIn(state, family, sandbox, seed, request)
  const createdMs = performance.now() - started

  state.families.refill()
  state.metrics.createSeconds.observe(createdMs / 1000)
  state.log.info({ sandbox: sandbox.id, name: sandbox.name, createdMs }, 'sandbox created')
  state.events.emit({ type: 'sandbox.created', sandbox: sandbox.id })
  const timings = { plan: seeded - started, engine: taken - seeded, ...engineTimings }
  return {
    ...getSandbox(state, sandbox.id),
    createdMs: rounded(createdMs),
    timings: mapValues(timings, rounded),
  }
}

async function resolveRequest(state: State, request: CreateSandbox): Promise<NewSandbox> {
  if (request.name !== undefined) requireFreeName(state, request.name)
  const base = await directory('base', request.base ?? '/', 'base_not_found')
  const workspace =
    request.workspace === undefined
      ? null
      : await directory('workspace', request.workspace, 'workspace_not_found')
  if (workspace !== null) refuseWorkspace(state, workspace)
  return {
    id: newSandboxId(),
    name: request.name ?? null,
    base,
    workspace,
    cwd: path.posix.resolve(workspace ?? '/root', request.cwd ?? ''),
    net: request.net ?? 'none',
    env: request.env ?? {},
    memoryBytes: request.memoryBytes ?? Math.floor(os.totalmem() / 2),
    cpus: request.cpus ?? null,
    pids: request.pids ?? DEFAULT_PIDS,
    diskBytes: request.diskBytes ?? DEFAULT_DISK_BYTES,
  }
}

/** Free of links: inside, the same path is looked for in a tree whose links lead elsewhere. */
async function directory(what: string, wanted: string, code: ErrorCode): Promise<string> {
  if (!path.isAbsolute(wanted)) {
    throw new DeltaBoxError(
      'invalid_request',
      `${what} must be an absolute path, not ${JSON.stringify(wanted)}`,
    )
  }
  const refuse = (why: string, cause?: unknown): DeltaBoxError =>
    new DeltaBoxError(code, `cannot use ${wanted} as ${what}: ${why}`, { cause, details: { path: wanted } })
  let real: string
  try {
    real = await realpath(wanted)
  } catch (cause) {
    throw refuse(
      (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'it does not exist' : String(cause),
      cause,
    )
  }
  if (!(await stat(real)).isDirectory()) throw refuse('it is not a directory')
  return real
}

/** An overlay must not be a layer of itself, nor show one sandbox another's files. */
function refuseWorkspace(state: State, workspace: string): void {
  const { dataDir } = state.paths
  if (workspace === '/' || isWithin(dataDir, workspace) || isWithin(workspace, dataDir)) {
    const why =
      workspace === '/' ? 'it is the whole host' : `it holds or lies in the data directory ${dataDir}`
    throw new DeltaBoxError('invalid_request', `cannot use ${workspace} as workspace: ${why}`, {
      details: { path: workspace },
    })
  }
}

function isWithin(inner: string, outer: string): boolean {
  return inner === outer || inner.startsWith(`${outer}/`)
}

function seedFor(state: State, request: CreateSandbox, sandbox: NewSandbox): Promise<Seed> {
  for (const masked of request.mask ?? []) {
    if (!path.isAbsolute(masked) || path.normalize(masked) === '/') {
      throw new DeltaBoxError(
        'invalid_request',
        `mask must hold absolute paths below /, not ${JSON.stringify(masked)}`,
      )
    }
  }
  return planSeed({
    base: sandbox.base,
    workspace: sandbox.workspace,
    hostname: hostnameOf(sandbox),
    net: sandbox.net,
    masks: request.mask ?? [],
    ownDirectories: [state.paths.dataDir, state.paths.runDir],
  })
}

function hostnameOf(sandbox: NewSandbox): string {
  return sandbox.name ?? sandbox.id
}

async function makeIn(
  state: State,
  family: Family,
  sandbox: NewSandbox,
  seed: Seed,
  request: CreateSandbox,
): Promise<Record<string, number>> {
  try {
    // Another create may have taken the name since it was looked at; then nothing is made and only the engine ends.
    if (sandbox.name !== null) requireFreeName(state, sandbox.name)
    state.store.sandboxes.insert({
      ...sandbox,
      engine: family.id,
      state: 'creating',
      cgroups: [],
      createdAt: Date.now(),
    })
    await mkdir(state.families.sandboxDirectory(family.id, sandbox.id), { mode: 0o700 })
    const { timings } = await family.client.request('base.open', baseOf(state, family, sandbox, seed))
    const parameters = parametersOf(state, family, sandbox, newLayerId())
    await mkdir(parameters.head, { mode: 0o700 })
    const made = await askEngine(state, family, parameters, request)
    state.store.sandboxes.setRunning(sandbox.id, made)
    return mapValues({ ...timings, ...made.timings }, (usec) => usec / 1000)
  } catch (error) {
    state.store.forgetSandbox(sandbox.id)
    await state.families.end(family)
    state.families.refill()
    throw explain(error, 'sandbox.create', `create sandbox ${hostnameOf(sandbox)} on ${sandbox.base}`)
  }
}

function baseOf(state: State, family: Family, sandbox: NewSandbox, seed: Seed): BaseParameters {
  const { base, workspace } = sandbox
  return {
    base: family.id,
    dir: state.families.baseDirectory(family.id),
    source: base,
    seed,
    volumes: workspace === null ? [] : [{ path: workspace, source: workspace }],
  }
}

function parametersOf(state: State, family: Family, sandbox: NewSandbox, head: string): CreateParameters {
  const { id, net, memoryBytes, pids, cpus } = sandbox
  return {
    sandbox: id,
    base: family.id,
    dir: state.families.sandboxDirectory(family.id, id),
    layers: [],
    head: state.families.layerDirectory(family.id, head),
    hostname: hostnameOf(sandbox),
    net,
    limits: {
      ...(memoryBytes === null ? {} : { memoryBytes }),
      ...(pids === null ? {} : { pids }),
      ...(cpus === null ? {} : { cpus }),
    },
  }
}

type Made = Ok<'sandbox.create'> & Pick<SandboxRow, 'memoryBytes' | 'pids'>

/** A host without a controller refuses a limit. One that nobody asked for is then left out. */
async function askEngine(
  state: State,
  family: Family,
  parameters: CreateParameters,
  request: CreateSandbox,
): Promise<Made> {
  const create = async ({ limits }: Pick<CreateParameters, 'limits'>): Promise<Made> => ({
    ...(await family.client.request('sandbox.create', { ...parameters, limits })),
    memoryBytes: limits.memoryBytes ?? null,
    pids: limits.pids ?? null,
  })
  try {
    return await create(parameters)
  } catch (error) {
    if (!(error instanceof EngineError) || error.code !== 'limits_unavailable') throw error
    state.log.warn({ sandbox: parameters.sandbox, err: error }, 'default limits are left out')
    const { memoryBytes, pids, cpus } = request
    return await create({
      limits: {
        ...(memoryBytes === undefined ? {} : { memoryBytes }),
        ...(pids === undefined ? {} : { pids }),
        ...(cpus === undefined ? {} : { cpus }),
      },
    })
  }
}

function mapValues(
  record: Readonly<Record<string, number>>,
  map: (value: number) => number,
): Record<string, number> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]))
}

/** To a microsecond. */
function rounded(milliseconds: number): number {
  return Math.round(milliseconds * 1000) / 1000
}
