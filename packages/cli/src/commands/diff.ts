import { Command } from 'commander'
import { Sandbox } from 'deltabox'
import { example } from '../options.js'
import { printable, printJson, printLines } from '../report.js'

const BASE = 'base'

async function run(first: string, second: string | undefined, flags: { json?: boolean }): Promise<void> {
  const [from, to] = second === undefined ? [BASE, first] : [first, second]
  const changes = await Sandbox.diff(from, to)
  if (flags.json) printJson({ changes })
  else printLines(changes.map(({ kind, path }) => `${kind} ${printable(path)}`))
}

export function command(): Command {
  return new Command('diff')
    .description(
      'what is added (A), modified (M) and deleted (D) from one state to another, or from the base',
    )
    .argument('<a>', 'a sandbox, a checkpoint or `base`')
    .argument('[b]', 'the same; without it, from the base to <a>')
    .option('--json', 'print JSON')
    .addHelpText('after', example('deltabox diff cp-k3x7q2a5mb mybox'))
    .action(run)
}
