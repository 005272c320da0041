/** Finding sandboxes, and what can be asked or told about one without touching its insides. */
import {
  DeltaBoxError,
  type RenameSandbox,
  type SandboxInfo,
  type SandboxList,
  type SandboxStats,
} from '@deltabox/protocol'
import type { Ok, OperationName, Parameters, Part } from '../engine/messages.js'
import { explain } from './engine-errors.js'
import type { SandboxRow } from './sandbox-table.js'
import type { State } from './state.js'

/** `sb-` and three letters. */
const PREFIX_MIN_LENGTH = 6

/** By id, by name, or by the beginning of an id that only one sandbox has. */
export function findSandbox(state: State, reference: string): SandboxRow {
  const { sandboxes } = state.store
  const exact = sandboxes.get(reference) ?? sandboxes.byName(reference)
  if (exact && isShown(exact)) return exact
  const isPrefix = reference.startsWith('sb-') && reference.length >= PREFIX_MIN_LENGTH
  const [first, ...others] = isPrefix ? sandboxes.byPrefix(reference).filter(isShown) : []
  if (first && others.length === 0) return first
  throw new DeltaBoxError(
    'sandbox_not_found',
    first
      ? `${JSON.stringify(reference)} is the beginning of ${others.length + 1} sandboxes’ ids: ${[first, ...others].map((row) => row.id).join(', ')}`
      : `no sandbox has the id or name ${JSON.stringify(reference)}`,
    { details: { sandbox: reference } },
  )
}

export function isShown(row: SandboxRow): boolean {
  return row.state === 'running' || row.state === 'dead'
}

export function labelOf(sandbox: SandboxRow): string {
  return sandbox.name ?? sandbox.id
}

/** One request to a sandbox's engine. `doing` completes "cannot …" in the error's message. */
export async function ask<Name extends OperationName>(
  state: State,
  sandbox: SandboxRow,
  doing: string,
  operation: Name,
  parameters: Parameters<Name>,
  part?: (part: Part<Name>) => void,
): Promise<Ok<Name>> {
  const family = state.families.get(sandbox.family)
  if (sandbox.state !== 'running' || !family) {
    throw new DeltaBoxError('sandbox_dead', `cannot ${doing}: ${sandbox.reason ?? 'its engine is gone'}`, {
      details: { sandbox: sandbox.id },
    })
  }
  try {
    return await family.client.request(operation, parameters, part)
  } catch (error) {
    throw explain(error, operation, doing)
  }
}

export function listSandboxes(state: State): SandboxList {
  return { sandboxes: state.store.sandboxes.all().filter(isShown).map(infoOf) }
}

export function getSandbox(state: State, reference: string): SandboxInfo {
  return infoOf(findSandbox(state, reference))
}

export function renameSandbox(state: State, reference: string, { name }: RenameSandbox): SandboxInfo {
  const sandbox = findSandbox(state, reference)
  if (sandbox.name === name) return infoOf(sandbox)
  requireFreeName(state, name)
  state.store.sandboxes.setName(sandbox.id, name)
  state.events.emit({ type: 'sandbox.renamed', sandbox: sandbox.id })
  return getSandbox(state, sandbox.id)
}

export function requireFreeName(state: State, name: string): void {
  const other = state.store.sandboxes.byName(name)
  if (!other) return
  throw new DeltaBoxError('name_taken', `the name ${JSON.stringify(name)} belongs to ${other.id}`, {
    details: { name, sandbox: other.id },
  })
}

export async function sandboxStats(state: State, reference: string): Promise<SandboxStats> {
  const sandbox = findSandbox(state, reference)
  const doing = `look at sandbox ${labelOf(sandbox)}`
  const [stats, diskBytes] = await Promise.all([
    ask(state, sandbox, doing, 'sandbox.stats', { sandbox: sandbox.id }),
    writtenBytes(state, sandbox, doing),
  ])
  return { ...stats, diskBytes }
}

/** What it wrote and what lies below that: frozen by checkpoints, its own or those it was forked from. */
export async function writtenBytes(state: State, sandbox: SandboxRow, doing: string): Promise<number> {
  const { bytes } = await ask(state, sandbox, doing, 'sandbox.usage', { sandbox: sandbox.id })
  const { store } = state
  const head = store.sandboxes.get(sandbox.id)?.head
  return bytes + store.layers.chainBytes(store.layers.get(head ?? '')?.parent ?? null)
}

function infoOf(row: SandboxRow): SandboxInfo {
  return {
    id: row.id,
    name: row.name,
    state: row.state === 'running' ? 'running' : 'dead',
    ...(row.reason === null ? {} : { reason: row.reason }),
    base: row.base,
    workspace: row.workspace,
    cwd: row.cwd,
    net: row.net,
    limits: { memoryBytes: row.memoryBytes, cpus: row.cpus, pids: row.pids, diskBytes: row.diskBytes },
    checkpoint: row.checkpoint,
    ...(row.retention === null ? {} : { retention: row.retention }),
    createdAt: new Date(row.createdAt).toISOString(),
  }
}
