import { Command } from 'commander'
import { Checkpoint, DeltaBoxError, type Sandbox } from 'deltabox'
import { example, positiveInteger } from '../options.js'
import { errorLine, errorObject, printJson, printLines, warnOfLost } from '../report.js'
import { openState } from '../state-name.js'

interface ForkFlags {
  readonly number: number
  readonly partial?: boolean
  readonly json?: boolean
}

async function run(source: string, flags: ForkFlags): Promise<void> {
  const from = await openState(source)
  const started = performance.now()
  const made = await from.fork({ count: flags.number, partial: flags.partial ?? false })
  const ms = Math.round((performance.now() - started) * 1000) / 1000
  const failed = made.filter((one) => one instanceof DeltaBoxError)
  if (flags.json) {
    const sandboxes = made.map((one) => (one instanceof DeltaBoxError ? errorObject(one) : one.info))
    printJson({ sandboxes, ms })
  } else {
    printLines(made.filter((one): one is Sandbox => !(one instanceof DeltaBoxError)).map((box) => box.id))
    for (const error of failed) process.stderr.write(errorLine(error))
  }
  if (from instanceof Checkpoint) warnOfLost(from.id, from.lost)
  if (failed.length > 0) process.exitCode = 1
}

export function command(): Command {
  return new Command('fork')
    .description(
      'make sandboxes in the state of a checkpoint, or of a sandbox as it is now; prints their ids',
    )
    .argument('<sandbox|checkpoint>')
    .option('-n, --number <n>', 'how many', positiveInteger, 1)
    .option('--partial', 'keep those that can be made when others cannot; the status tells of it')
    .option('--json', 'print JSON')
    .addHelpText('after', example('deltabox fork -n 4 mybox'))
    .action(run)
}
