import { Command } from 'commander'
import { Sandbox } from 'deltabox'
import { example } from '../options.js'
import { printJson } from '../report.js'

async function run(sandbox: string, name: string, flags: { json?: boolean }): Promise<void> {
  const box = await Sandbox.connect(sandbox)
  await box.rename(name)
  if (flags.json) printJson(box.info)
}

export function command(): Command {
  return new Command('rename')
    .description('give a sandbox another name')
    .argument('<sandbox>')
    .argument('<name>')
    .option('--json', 'print JSON')
    .addHelpText('after', example('deltabox rename sb-k3x7q2a5mb mybox'))
    .action(run)
}
