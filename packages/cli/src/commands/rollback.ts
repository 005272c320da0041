import { Command } from 'commander'
import { Sandbox } from 'deltabox'
import { example } from '../options.js'
import { counted, printJson, printLines, warnOfLost } from '../report.js'

async function run(sandbox: string, checkpoint: string, flags: { json?: boolean }): Promise<void> {
  const box = await Sandbox.connect(sandbox)
  const done = await box.rollback(checkpoint)
  if (flags.json) printJson(done)
  else
    printLines([
      `back at ${done.checkpoint}; ${counted(done.processes, 'process runs', 'processes run')} again`,
    ])
  warnOfLost(done.checkpoint, done.lost)
}

export function command(): Command {
  return new Command('rollback')
    .description('bring a sandbox back to a checkpoint, files and processes')
    .argument('<sandbox>')
    .argument('<checkpoint>')
    .option('--json', 'print JSON')
    .addHelpText('after', example('deltabox rollback mybox cp-k3x7q2a5mb'))
    .action(run)
}
