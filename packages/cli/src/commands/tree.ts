import { Command } from 'commander'
import { type BaseNode, type CheckpointNode, Sandbox, type SandboxNode } from 'deltabox'
import { age } from '../age.js'
import { example } from '../options.js'
import { printable, printJson, printLines } from '../report.js'

type Node = BaseNode | CheckpointNode | SandboxNode

function describe(node: Node): string {
  if (node.kind === 'base') return node.workspace === null ? node.base : `${node.base} with ${node.workspace}`
  if (node.kind === 'sandbox') return `* ${node.id} ${node.name ?? '-'} ${node.state}`
  return [node.id, age(node.createdAt), printable(node.label ?? '')].join(' ').trimEnd()
}

/** One line per node, each below its parent with the lines that lead to it; live sandboxes have a star. */
export function drawTree(node: Node): string[] {
  const children = node.kind === 'sandbox' ? [] : node.children
  const below = children.flatMap((child, at) => {
    const last = at === children.length - 1
    const [head, ...rest] = drawTree(child)
    return [`${last ? '└─ ' : '├─ '}${head}`, ...rest.map((line) => `${last ? '   ' : '│  '}${line}`)]
  })
  return [describe(node), ...below]
}

async function run(sandbox: string | undefined, flags: { json?: boolean }): Promise<void> {
  const roots = sandbox === undefined ? await Sandbox.tree() : [await (await Sandbox.connect(sandbox)).tree()]
  if (flags.json) printJson({ roots })
  else printLines(roots.flatMap(drawTree))
}

export function command(): Command {
  return new Command('tree')
    .description('the checkpoints, and the sandboxes (*) that stand on them')
    .argument('[sandbox]', 'only its family: its first sandbox and all that was forked from it')
    .option('--json', 'print JSON')
    .addHelpText('after', example('deltabox tree mybox'))
    .action(run)
}
