import { stat } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { Command } from 'commander'
import { DeltaBoxError, Sandbox } from 'deltabox'
import { example } from '../options.js'
import { mib, printJson, printLines, warnOfLost } from '../report.js'

interface ExportFlags {
  readonly output?: string
  readonly json?: boolean
}

async function run(checkpoint: string, { output, json }: ExportFlags): Promise<void> {
  const found = await Sandbox.getCheckpoint(checkpoint)
  if (output === '-') {
    if (json)
      throw new DeltaBoxError('invalid_request', '--json and --output - both want to be all of stdout')
    await pipeline(await found.export(), process.stdout)
    return
  }
  const file = output ?? `${found.id}.dbx`
  await found.exportTo(file)
  const { size: bytes } = await stat(file)
  if (json) printJson({ checkpoint: found.id, file, bytes })
  else printLines([`${found.id} and all it descends from are in ${file} (${mib(bytes)})`])
  warnOfLost(found.id, found.lost)
}

export function command(): Command {
  return new Command('export')
    .description('write a checkpoint and all it descends from to one file, for another host')
    .argument('<checkpoint>')
    .option('-o, --output <file>', 'where to; - is stdout. Default: CHECKPOINT.dbx')
    .option('--json', 'print JSON')
    .addHelpText('after', example('deltabox export -o fixed.dbx cp-k3x7q2a5mb'))
    .action(run)
}
