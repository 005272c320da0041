import { Command } from 'commander'
import { type Checkpoint, type CheckpointNode, DeltaBoxError, Sandbox, type SandboxNode } from 'deltabox'
import { example } from '../options.js'
import { counted, printJson, printLines } from '../report.js'
import { openState } from '../state-name.js'

interface RmFlags {
  readonly all?: boolean
  readonly checkpoints?: boolean
  readonly json?: boolean
}

/** Of checkpoints, those that others came from last. */
function idsIn(node: CheckpointNode | SandboxNode): string[] {
  return node.kind === 'sandbox' ? [] : [...node.children.flatMap(idsIn), node.id]
}

function createdAt(state: Sandbox | Checkpoint): number {
  return Date.parse(state instanceof Sandbox ? state.info.createdAt : state.createdAt)
}

async function all(flags: RmFlags): Promise<string[]> {
  const sandboxes = (await Sandbox.list()).map((info) => info.id)
  if (!flags.checkpoints) return sandboxes
  // also those whose sandboxes are gone
  const roots = await Sandbox.tree()
  return [...sandboxes, ...roots.flatMap((root) => root.children.flatMap(idsIn))]
}

async function run(names: string[], flags: RmFlags): Promise<void> {
  if (names.length === 0 && !flags.all) {
    throw new DeltaBoxError('invalid_request', 'rm takes sandboxes and checkpoints, or --all')
  }
  const wanted = flags.all ? await all(flags) : names
  // all names are looked up before any is removed: a mistyped one removes nothing
  const states: (Sandbox | Checkpoint)[] = []
  for (const name of wanted) states.push(await openState(name))
  // a checkpoint that a younger sandbox stands on is needed until that is gone
  if (flags.checkpoints) states.sort((a, b) => createdAt(b) - createdAt(a))
  const removed: string[] = []
  let kept = 0
  for (const state of states) {
    if (state instanceof Sandbox) {
      const left = await state.kill({ checkpoints: flags.checkpoints ?? false })
      kept += left?.checkpoints ?? 0
    } else {
      await state.delete()
    }
    removed.push(state.id)
  }
  if (flags.json) {
    printJson({ removed, checkpoints: kept })
    return
  }
  printLines(removed)
  if (kept > 0) {
    const what = counted(kept, 'checkpoint is', 'checkpoints are')
    process.stderr.write(`deltabox: ${what} kept; \`deltabox tree\` shows them\n`)
  }
}

export function command(): Command {
  return new Command('rm')
    .description('end and remove sandboxes, and remove checkpoints; what others need of these stays')
    .argument('[sandbox|checkpoint...]')
    .option('--all', 'remove every sandbox')
    .option('--checkpoints', 'and the checkpoints taken of them; with --all every one')
    .option('--json', 'print JSON')
    .addHelpText('after', example('deltabox rm --checkpoints mybox'))
    .action(run)
}
