/** What bringing a volume's changes to the directory it came from takes, and what forbids it. */
import type { EngineChange, NodeType } from '../engine/messages.js'

/** The host's copy as it is now. */
export interface HostNode {
  readonly type: 'file' | 'directory' | 'symlink' | 'other'
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly size: number
  readonly ctimeNs: bigint
}

/** What the sandbox has at the path. */
interface NewNode {
  readonly type: NodeType
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly size: number
}

export interface Step {
  readonly kind: 'A' | 'M' | 'D'
  readonly path: Buffer
  /** Absent for D. */
  readonly node: NewNode | undefined
  readonly host: HostNode | undefined
}

export interface Plan {
  /** In the order to carry them out. */
  readonly steps: readonly Step[]
  readonly conflicts: readonly Buffer[]
  readonly skipped: readonly { readonly path: Buffer; readonly type: NodeType }[]
}

export interface PlanContext {
  /** Changes of the host's copy after it are not the sandbox's basis. */
  readonly createdNs: bigint
  /** By path in latin1: the ctime an earlier apply left, where it still is the last change. */
  readonly applied: ReadonlyMap<string, bigint>
  look(path: Buffer): Promise<HostNode | undefined>
  /** Compares content or link target of two nodes of the same type and size. */
  sameContent(step: Step): Promise<boolean>
}

const CARRIED: ReadonlySet<NodeType> = new Set(['file', 'directory', 'symlink'])

export async function planChanges(changes: readonly EngineChange[], context: PlanContext): Promise<Plan> {
  const steps: Step[] = []
  const conflicts: Buffer[] = []
  const skipped: { path: Buffer; type: NodeType }[] = []
  for (const change of changes) {
    const step = await stepOf(change, context)
    if (step.node && !CARRIED.has(step.node.type)) {
      skipped.push({ path: step.path, type: step.node.type })
    } else if (!(await isDone(step, context))) {
      if (isConflict(step, context)) conflicts.push(step.path)
      else steps.push(step)
    }
  }
  return { steps: inOrder(steps), conflicts, skipped }
}

async function stepOf(change: EngineChange, context: PlanContext): Promise<Step> {
  const path = Buffer.from(change.path)
  const host = await context.look(path)
  const { kind, type, mode = 0, uid = 0, gid = 0, size = 0 } = change
  return { kind, path, host, node: type === undefined ? undefined : { type, mode, uid, gid, size } }
}

/** The host has it like this already. */
async function isDone(step: Step, context: PlanContext): Promise<boolean> {
  const { node, host } = step
  if (!node || !host) return !node && !host
  if (node.type !== host.type || !hasOwner(host, node)) return false
  // A link has no mode of its own.
  if (node.type === 'symlink') return context.sameContent(step)
  if (node.mode !== host.mode) return false
  return node.type === 'directory' || (node.size === host.size && (await context.sameContent(step)))
}

/** What the sandbox's root made belongs on the host to whoever has the place. */
function hasOwner(host: HostNode, node: NewNode): boolean {
  return node.uid === 0 || (node.uid === host.uid && node.gid === host.gid)
}

/**
 * The host's copy is not the one the sandbox started from. Of a directory only its entries matter, and each is looked at
 * for itself: its own times move with every one of them.
 */
function isConflict({ kind, path, host }: Step, context: PlanContext): boolean {
  if (!host) return kind === 'M'
  if (kind === 'A') return true
  if (host.type === 'directory') return false
  return host.ctimeNs > context.createdNs && host.ctimeNs !== context.applied.get(path.toString('latin1'))
}

/** First away with what goes, contents before their directory; then directories before their contents. */
function inOrder(steps: readonly Step[]): Step[] {
  const deletions = steps.filter((step) => step.kind === 'D').sort((a, b) => Buffer.compare(b.path, a.path))
  return [...deletions, ...steps.filter((step) => step.kind !== 'D')]
}
