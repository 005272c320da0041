/** Making a sandbox. All or nothing: what a step made is undone when a later one fails. */
import { mkdir, realpath, stat } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { type CreatedSandbox, type CreateSandbox, DeltaBoxError, type ErrorCode } from '@deltabox/protocol'
import { EngineError } from '../engine/client.js'
import type { CreateParameters, Limits, Ok, Seed } from '../engine/messages.js'
import { openBase, planBase } from './base.js'
import { explain } from './engine-errors.js'
import type { Family } from './families.js'
import type { FamilySetup } from './family-table.js'
import { newSandboxId } from './ids.js'
import type { LayerRow } from './layer-table.js'
import { getSandbox, requireFreeName } from './sandboxes.js'
import type { State } from './state.js'
import { milliseconds, rounded } from './timings.js'

const DEFAULT_PIDS = 2048
const DEFAULT_DISK_BYTES = 10 * 1024 ** 3

/** A sandbox on a base of its own, and what all that is forked from it will have in common with it. */
interface NewSandbox {
  readonly id: string
  readonly name: string | null
  readonly setup: FamilySetup
}

export async function createSandbox(state: State, request: CreateSandbox): Promise<CreatedSandbox> {
  const started = performance.now()
  const sandbox = await resolveRequest(state, request)
  const seed = await planBase(state, sandbox.setup)
  const seeded = performance.now()
  const family = await state.families.take()
  const taken = performance.now()
  const engineTimings = await makeIn(state, family, sandbox, seed, request)
  const createdMs = performance.now() - started

  state.families.refill()
  state.metrics.createSeconds.observe(createdMs / 1000)
  state.log.info({ sandbox: sandbox.id, name: sandbox.name, createdMs }, 'sandbox created')
  state.events.emit({ type: 'sandbox.created', sandbox: sandbox.id })
  return {
    ...getSandbox(state, sandbox.id),
    createdMs: rounded(createdMs),
    timings: { plan: rounded(seeded - started), engine: rounded(taken - seeded), ...engineTimings },
  }
}

async function resolveRequest(state: State, request: CreateSandbox): Promise<NewSandbox> {
  const { name = null } = request
  if (name !== null) requireFreeName(state, name)
  const base = await hostDirectory('base', request.base ?? '/', 'base_not_found')
  const workspace =
    request.workspace === undefined
      ? null
      : await hostDirectory('workspace', request.workspace, 'workspace_not_found')
  if (workspace !== null) refuseWorkspace(state, workspace)
  const id = newSandboxId()
  const setup = {
    base,
    workspace,
    hostname: name ?? id,
    masks: masksOf(request),
    net: request.net ?? 'none',
    cwd: path.posix.resolve(workspace ?? '/root', request.cwd ?? ''),
    env: request.env ?? {},
    memoryBytes: request.memoryBytes ?? Math.floor(os.totalmem() / 2),
    cpus: request.cpus ?? null,
    pids: request.pids ?? DEFAULT_PIDS,
    diskBytes: request.diskBytes ?? DEFAULT_DISK_BYTES,
    since: Date.now(),
  }
  return { id, name, setup }
}

/** Free of links: inside, the same path is looked for in a tree whose links lead elsewhere. */
export async function hostDirectory(what: string, wanted: string, code: ErrorCode): Promise<string> {
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
export function refuseWorkspace(state: State, workspace: string): void {
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

function masksOf({ mask = [] }: CreateSandbox): readonly string[] {
  for (const masked of mask) {
    if (!path.isAbsolute(masked) || path.normalize(masked) === '/') {
      throw new DeltaBoxError(
        'invalid_request',
        `mask must hold absolute paths below /, not ${JSON.stringify(masked)}`,
      )
    }
  }
  return mask
}

async function makeIn(
  state: State,
  family: Family,
  sandbox: NewSandbox,
  seed: Seed,
  request: CreateSandbox,
): Promise<Record<string, number>> {
  const { id, name, setup } = sandbox
  try {
    // Another create may have taken the name since it was looked at; then nothing is made and only the engine ends.
    if (name !== null) requireFreeName(state, name)
    const head = state.store.transaction(() => {
      state.store.families.setSetup(family.id, setup)
      const layer = state.layers.newHead({ family: family.id, sandbox: id, parent: null, target: null })
      const row = { id, name, family: family.id, head: layer.id, createdAt: setup.since }
      state.store.sandboxes.insert({ ...row, checkpoint: null, parent: null, forkedFrom: null })
      return layer
    })
    await mkdir(state.families.sandboxDirectory(family.id, id), { mode: 0o700 })
    const baseTimings = await openBase(state, family, seed)
    const made = await askEngine(state, family, parametersOf(state, sandbox, head), request)
    state.store.transaction(() => {
      state.store.families.setSetup(family.id, { ...setup, ...made.limits })
      state.store.sandboxes.setRunning(id, made.cgroups)
    })
    return milliseconds({ ...baseTimings, ...made.timings })
  } catch (error) {
    state.store.forgetSandbox(id)
    await state.families.end(family)
    state.families.refill()
    throw explain(error, 'sandbox.create', `create sandbox ${setup.hostname} on ${setup.base}`)
  }
}

/** Of a sandbox that stands on a chain with a new head. */
export function parametersOf(
  state: State,
  { id, setup }: Pick<NewSandbox, 'id' | 'setup'>,
  head: Pick<LayerRow, 'id' | 'family' | 'parent'>,
): CreateParameters {
  const { hostname, net } = setup
  return {
    sandbox: id,
    base: head.family,
    dir: state.families.sandboxDirectory(head.family, id),
    layers: state.layers.chainDirectories({ family: head.family, top: head.parent }),
    head: state.layers.directory(head),
    hostname,
    net,
    limits: limitsOf(setup),
  }
}

export function limitsOf({
  memoryBytes,
  pids,
  cpus,
}: Pick<FamilySetup, 'memoryBytes' | 'pids' | 'cpus'>): Limits {
  return {
    ...(memoryBytes === null ? {} : { memoryBytes }),
    ...(pids === null ? {} : { pids }),
    ...(cpus === null ? {} : { cpus }),
  }
}

type Made = Ok<'sandbox.create'> & { limits: Pick<FamilySetup, 'memoryBytes' | 'pids'> }

/** A host without a controller refuses a limit. One that nobody asked for is then left out. */
async function askEngine(
  state: State,
  family: Family,
  parameters: CreateParameters,
  request: CreateSandbox,
): Promise<Made> {
  const create = async ({ limits }: Pick<CreateParameters, 'limits'>): Promise<Made> => ({
    ...(await family.client.request('sandbox.create', { ...parameters, limits })),
    limits: { memoryBytes: limits.memoryBytes ?? null, pids: limits.pids ?? null },
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
