import { Command } from 'commander'
import { Sandbox } from 'deltabox'
import { example } from '../options.js'
import { printable, printJson, printLines } from '../report.js'

async function run(sandbox: string, flags: { dryRun?: boolean; json?: boolean }): Promise<void> {
  const box = await Sandbox.connect(sandbox)
  const changes = await box.apply({ dryRun: flags.dryRun ?? false })
  if (flags.json) printJson({ changes })
  else printLines(changes.map((change) => `${change.kind} ${printable(change.path)}`))
}

export function command(): Command {
  return new Command('apply')
    .description("write a workspace's changes back to the directory it came from")
    .argument('<sandbox>')
    .option('--dry-run', 'only tell what would change')
    .option('--json', 'print JSON')
    .addHelpText('after', example('deltabox apply --dry-run mybox'))
    .action(run)
}
