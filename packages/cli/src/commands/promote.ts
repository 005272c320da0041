import { Command } from 'commander'
import { Sandbox } from 'deltabox'
import { example } from '../options.js'
import { counted, errorLine, errorObject, printJson, printLines, warnOfLost } from '../report.js'

interface PromoteFlags {
  readonly drop?: boolean
  readonly json?: boolean
}

async function run(fork: string, sandbox: string, flags: PromoteFlags): Promise<void> {
  const box = await Sandbox.connect(sandbox)
  const { notDropped = [], ...done } = await box.promote(fork, { drop: flags.drop ?? false })
  if (flags.json) {
    printJson({ ...done, ...(notDropped.length > 0 && { notDropped: notDropped.map(errorObject) }) })
  } else {
    const processes = counted(done.processes, 'process runs', 'processes run')
    printLines([
      `at ${done.checkpoint}, the state of ${fork}; ${processes} again`,
      ...done.dropped.map((id) => `removed ${id}`),
    ])
    for (const error of notDropped) process.stderr.write(errorLine(error))
  }
  warnOfLost(done.checkpoint, done.lost)
  if (notDropped.length > 0) process.exitCode = 1
}

export function command(): Command {
  return new Command('promote')
    .description('let a sandbox go on in the state that a fork has now, files and processes')
    .argument('<fork>')
    .argument('<sandbox>')
    .option(
      '--drop',
      'then remove the fork, and the others forked of the same sandbox at the same checkpoint',
    )
    .option('--json', 'print JSON')
    .addHelpText('after', example('deltabox promote --drop sb-k3x7q2a5mb mybox'))
    .action(run)
}
