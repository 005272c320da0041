/** The checkpoints of a family as a tree, with its sandboxes where they stand. */
import type { BaseNode, CheckpointNode, SandboxNode, Tree, TreeQuery } from '@deltabox/protocol'
import type { FamilyRow, FamilySetup } from './family-table.js'
import type { SandboxRow } from './sandbox-table.js'
import { findSandbox, isShown } from './sandboxes.js'
import type { State } from './state.js'

export function checkpointTree(state: State, query: TreeQuery): Tree {
  const families = state.store.families
  const wanted = query.sandbox === undefined ? undefined : findSandbox(state, query.sandbox).family
  const rows = wanted === undefined ? families.all() : [families.get(wanted)]
  return { roots: rows.flatMap((row) => (row?.setup ? rootOf(state, row, row.setup) : [])) }
}

/** None for a family whose first sandbox is just being made. */
function rootOf(state: State, { id }: FamilyRow, { base, workspace }: FamilySetup): BaseNode[] {
  const sandboxes = state.store.sandboxes.ofFamily(id).filter(isShown)
  const checkpoints = state.store.checkpoints.ofFamily(id)
  if (sandboxes.length === 0 && checkpoints.length === 0) return []
  const root: BaseNode = { kind: 'base', base, workspace, children: [] }
  const nodes = new Map<string | null, BaseNode | CheckpointNode>([[null, root]])
  for (const row of checkpoints) {
    const createdAt = new Date(row.createdAt).toISOString()
    nodes.set(row.id, { kind: 'checkpoint', id: row.id, label: row.label, createdAt, children: [] })
  }
  const hang = (node: CheckpointNode | SandboxNode | undefined, under: string | null): void => {
    if (node) nodes.get(under)?.children.push(node)
  }
  for (const { id: checkpoint, parent } of checkpoints) {
    hang(nodes.get(checkpoint) as CheckpointNode | undefined, parent)
  }
  for (const sandbox of sandboxes) hang(sandboxNode(sandbox), sandbox.checkpoint)
  return [root]
}

function sandboxNode({ id, name, state }: SandboxRow): SandboxNode {
  return { kind: 'sandbox', id, name, state: state === 'running' ? 'running' : 'dead' }
}
