/** Bringing a workspace's changes to the directory on the host that it came from: all of them, or none. */
import type { FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { type AppliedChanges, type ApplyWorkspace, DeltaBoxError } from '@deltabox/protocol'
import { type HostNode, type Plan, planChanges, type Step } from '../deltafs/change-plan.js'
import { HostTree, NotThereError, type Owner, typeOf } from '../deltafs/host-tree.js'
import type { EngineChange } from '../engine/messages.js'
import { openForReading } from './files.js'
import type { SandboxRow } from './sandbox-table.js'
import { ask, findSandbox, labelOf } from './sandboxes.js'
import type { State } from './state.js'

const CHUNK_BYTES = 256 * 1024

export function applyWorkspace(
  state: State,
  reference: string,
  request: ApplyWorkspace,
): Promise<AppliedChanges> {
  const { id } = findSandbox(state, reference)
  return state.serial.run(id, async () => {
    const sandbox = findSandbox(state, id)
    const workspace = workspaceOf(sandbox)
    const job: Job = { state, sandbox, workspace, tree: await openTree(workspace) }
    try {
      const plan = await makePlan(job)
      refuseConflicts(job, plan)
      if (!request.dryRun) await carryOut(job, plan)
      return reportOf(plan)
    } finally {
      await job.tree.close()
    }
  })
}

interface Job {
  readonly state: State
  readonly sandbox: SandboxRow
  readonly workspace: string
  readonly tree: HostTree
}

function workspaceOf(sandbox: SandboxRow): string {
  if (sandbox.workspace !== null) return sandbox.workspace
  throw new DeltaBoxError('no_workspace', `sandbox ${labelOf(sandbox)} has no workspace`, {
    details: { sandbox: sandbox.id },
  })
}

async function openTree(workspace: string): Promise<HostTree> {
  try {
    return await HostTree.open(workspace)
  } catch (cause) {
    const why = (cause as Error).message
    throw new DeltaBoxError('workspace_not_found', `cannot apply to ${workspace}: ${why}`, { cause })
  }
}

async function makePlan(job: Job): Promise<Plan> {
  const { state, sandbox } = job
  const applied = state.store.applied.all(sandbox.id)
  const changes = await collectChanges(job)
  return planChanges([...changes, ...(await hiddenDeletions(job, changes, applied))], {
    // The end of the millisecond its family began in; what was written before is what the sandbox was made from.
    createdNs: BigInt(sandbox.since + 1) * 1_000_000n,
    applied,
    look: (path) => look(job, path),
    sameContent: (step) => sameContent(job, step),
  })
}

async function collectChanges({ state, sandbox, workspace }: Job): Promise<EngineChange[]> {
  const changes: EngineChange[] = []
  const doing = `compare sandbox ${labelOf(sandbox)} with ${workspace}`
  const chain = state.store.layers.chain(sandbox.head)
  const to = chain.map((layer) => state.layers.directory(layer))
  await state.layers.holding(chain, () =>
    ask(state, sandbox, doing, 'layers.diff', { base: sandbox.family, tree: 1, from: [], to }, (part) => {
      for (const change of part.changes) changes.push(change)
    }),
  )
  return changes
}

/**
 * What an earlier apply brought to the host and the sandbox has removed since. The overlay keeps no trace of that: it
 * took the file for one that exists in its upper layer alone.
 */
async function hiddenDeletions(
  { state, sandbox }: Job,
  changes: readonly EngineChange[],
  applied: ReadonlyMap<string, bigint>,
): Promise<EngineChange[]> {
  const told = new Set(changes.map((change) => Buffer.from(change.path).toString('latin1')))
  const missing = new Set([...applied.keys()].filter((name) => !told.has(name)))
  for (const layer of state.store.layers.chain(sandbox.head)) {
    if (missing.size === 0) break
    const upper = await HostTree.open(path.join(state.layers.directory(layer), 'fs1', 'upper'))
    try {
      for (const name of missing) if (await upper.look(Buffer.from(name, 'latin1'))) missing.delete(name)
    } finally {
      await upper.close()
    }
  }
  return [...missing].map((name) => ({ kind: 'D', path: Buffer.from(name, 'latin1') }))
}

async function look({ tree }: Job, path: Buffer): Promise<HostNode | undefined> {
  const node = await tree.look(path)
  if (!node) return undefined
  return {
    type: typeOf(node),
    mode: Number(node.mode) & 0o7777,
    uid: Number(node.uid),
    gid: Number(node.gid),
    size: Number(node.size),
    ctimeNs: node.ctimeNs,
  }
}

async function sameContent(job: Job, { path, node }: Step): Promise<boolean> {
  if (node?.type === 'symlink') return (await targetOf(job, path)).equals(await job.tree.target(path))
  const host = await job.tree.openFile(path)
  try {
    for await (const piece of contentOf(job, path)) {
      if (!piece.equals(await readExactly(host, piece.length))) return false
    }
    return (await readExactly(host, 1)).length === 0
  } finally {
    await host.close()
  }
}

/** Less at the end of the file. */
async function readExactly(file: FileHandle, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length)
  let have = 0
  while (have < length) {
    const { bytesRead } = await file.read(buffer, have, length - have)
    if (bytesRead === 0) break
    have += bytesRead
  }
  return buffer.subarray(0, have)
}

function refuseConflicts({ sandbox, workspace }: Job, { conflicts }: Plan): void {
  if (conflicts.length === 0) return
  const paths = conflicts.map((path) => path.toString())
  throw new DeltaBoxError(
    'apply_conflict',
    `cannot apply sandbox ${labelOf(sandbox)} to ${workspace}: changed on the host since: ${paths.join(', ')}`,
    { details: { paths } },
  )
}

async function carryOut(job: Job, plan: Plan): Promise<void> {
  const applied: Step[] = []
  for (const step of plan.steps) {
    try {
      await carryOutStep(job, step)
    } catch (cause) {
      throw failedAt(job, step, applied, cause)
    }
    applied.push(step)
  }
  job.state.log.info({ sandbox: job.sandbox.id, changes: applied.length }, 'workspace applied')
}

async function carryOutStep(job: Job, { path, node, host }: Step): Promise<void> {
  const { tree } = job
  if (host && node?.type !== host.type && (!node || host.type === 'directory' || node.type === 'directory')) {
    await tree.remove(path, host.type === 'directory')
  }
  if (!node) return job.state.store.applied.remove(job.sandbox.id, path)
  const owner = await ownerFor(tree, path, node, host)
  if (node.type === 'symlink') await tree.writeSymlink(path, await targetOf(job, path), owner)
  else if (node.type === 'file') await tree.writeFile(path, contentOf(job, path), node.mode, owner)
  else if (host?.type === 'directory') await tree.setDirectory(path, node.mode, owner)
  else await tree.makeDirectory(path, node.mode, owner)
  const written = await tree.look(path)
  if (written) job.state.store.applied.set(job.sandbox.id, path, written.ctimeNs)
}

/** Root's files inside are on the host the files of who has the directory; a file that was there keeps its owner. */
async function ownerFor(
  tree: HostTree,
  path: Buffer,
  node: Owner,
  host: HostNode | undefined,
): Promise<Owner> {
  return node.uid === 0 ? (host ?? (await tree.ownerOfParent(path))) : node
}

async function* contentOf({ state, sandbox, workspace }: Job, path: Buffer): AsyncGenerator<Buffer, void> {
  const doing = `read ${workspace}/${path} in sandbox ${labelOf(sandbox)}`
  const handle = await openForReading(state, sandbox, inside(workspace, path), doing)
  try {
    for (;;) {
      const { data, end } = await ask(state, sandbox, doing, 'file.read', { handle, max: CHUNK_BYTES })
      if (end) return
      yield Buffer.from(data.buffer, data.byteOffset, data.byteLength)
    }
  } finally {
    await ask(state, sandbox, doing, 'file.close', { handle })
  }
}

async function targetOf({ state, sandbox, workspace }: Job, path: Buffer): Promise<Buffer> {
  const doing = `read link ${workspace}/${path} in sandbox ${labelOf(sandbox)}`
  const parameters = { sandbox: sandbox.id, path: inside(workspace, path), follow: false }
  return Buffer.from((await ask(state, sandbox, doing, 'file.stat', parameters)).target ?? [])
}

function inside(workspace: string, path: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${workspace}/`), path])
}

/** What was applied before stays; applying again takes up the rest. */
function failedAt(job: Job, step: Step, applied: readonly Step[], cause: unknown): DeltaBoxError {
  const { code } = cause as NodeJS.ErrnoException
  const known = cause instanceof DeltaBoxError ? cause.code : undefined
  const moved = cause instanceof NotThereError || code === 'ENOTEMPTY' || code === 'ENOENT'
  const full = code === 'ENOSPC' || code === 'EDQUOT'
  return new DeltaBoxError(
    known ?? (moved ? 'apply_conflict' : full ? 'disk_full' : 'engine_failed'),
    `cannot apply ${step.path} of sandbox ${labelOf(job.sandbox)} to ${job.workspace}: ${(cause as Error).message}`,
    {
      cause,
      details: { paths: [step.path.toString()], applied: applied.map(({ path }) => path.toString()) },
    },
  )
}

function reportOf(plan: Plan): AppliedChanges {
  return {
    changes: plan.steps
      .map(({ kind, path }) => ({ kind, path: path.toString() || '.' }))
      .sort((a, b) => (a.path < b.path ? -1 : 1)),
    skipped: plan.skipped.map(({ path, type }) => ({ path: path.toString(), type })),
  }
}
