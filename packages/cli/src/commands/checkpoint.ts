import { Command } from 'commander'
import { Sandbox } from 'deltabox'
import { example } from '../options.js'
import { printJson, printLines } from '../report.js'

interface CheckpointFlags {
  readonly message?: string
  readonly disk: boolean
  readonly json?: boolean
}

async function run(sandbox: string, flags: CheckpointFlags): Promise<void> {
  const box = await Sandbox.connect(sandbox)
  const checkpoint = await box.checkpoint({
    disk: flags.disk,
    ...(flags.message === undefined ? {} : { label: flags.message }),
  })
  if (flags.json) printJson(checkpoint)
  else printLines([checkpoint.id])
}

export function command(): Command {
  return new Command('checkpoint')
    .description('keep the state of a sandbox, which runs on, and print the id of the checkpoint')
    .argument('<sandbox>')
    .option('-m, --message <label>', 'a label to know it by')
    .option('--no-disk', 'keep the images of processes in memory only; files are on disk in any case')
    .option('--json', 'print JSON')
    .addHelpText('after', example("before=$(deltabox checkpoint mybox -m 'before refactor')"))
    .action(run)
}
