import { Command } from 'commander'
import { Sandbox } from 'deltabox'
import { addCreateOptions, type CreateFlags, example, toCreateOptions } from '../options.js'
import { printJson, printLines } from '../report.js'

async function run(flags: CreateFlags & { json?: boolean }): Promise<void> {
  const box = await Sandbox.create(toCreateOptions(flags))
  if (flags.json) printJson(box.info)
  else printLines([box.id])
}

export function command(): Command {
  return addCreateOptions(new Command('create'))
    .description('make a sandbox and print its id')
    .option('--json', 'print JSON')
    .addHelpText('after', example('id=$(deltabox create --workspace . --memory 2g)'))
    .action(run)
}
