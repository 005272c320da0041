import { Command, Option } from 'commander'
import { type ImportOptions, Sandbox } from 'deltabox'
import { example } from '../options.js'
import { counted, printJson, printLines } from '../report.js'

interface ImportFlags extends Pick<ImportOptions, 'base' | 'workspace' | 'net'> {
  readonly json?: boolean
}

async function run(file: string, { json, ...agreed }: ImportFlags): Promise<void> {
  const { checkpoint, ...imported } = await Sandbox.import(file === '-' ? process.stdin : file, agreed)
  if (json) {
    printJson({ ...imported, ...checkpoint })
  } else {
    const others = imported.checkpoints - 1
    printLines([checkpoint.id])
    if (others > 0)
      process.stderr.write(`with ${counted(others, 'checkpoint', 'checkpoints')} that it descends from\n`)
    for (const { from, id } of imported.renamed) process.stderr.write(`${from} is ${id} here\n`)
  }
  for (const warning of imported.warnings) process.stderr.write(`deltabox: ${warning}\n`)
}

export function command(): Command {
  return new Command('import')
    .description('take in a checkpoint that was exported; prints its id, for fork')
    .argument('<file>', '- is stdin')
    .option('--base <dir>', 'where the file system is that its sandboxes stand on. Default: the host’s own')
    .option('--workspace <dir>', 'agree to the workspace they have')
    .addOption(new Option('--net <net>', 'agree to the network they have').choices(['none', 'host']))
    .option('--json', 'print JSON')
    .addHelpText('after', example('deltabox import fixed.dbx'))
    .action(run)
}
