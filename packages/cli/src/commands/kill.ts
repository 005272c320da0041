import { Command } from 'commander'
import { Sandbox } from 'deltabox'
import { example } from '../options.js'
import { printJson } from '../report.js'

async function run(
  sandbox: string,
  process_: string,
  flags: { signal: string; json?: boolean },
): Promise<void> {
  const signal = flags.signal.startsWith('SIG') ? flags.signal : `SIG${flags.signal}`
  const box = await Sandbox.connect(sandbox)
  await box.commands.kill(process_, signal)
  if (flags.json) printJson({ process: process_, signal })
}

export function command(): Command {
  return new Command('kill')
    .description('signal a process and what it started')
    .argument('<sandbox>')
    .argument('<process>')
    .option('-s, --signal <name>', 'as TERM or SIGTERM', 'SIGKILL')
    .option('--json', 'print JSON')
    .addHelpText('after', example('deltabox kill -s TERM mybox p-3k5q2zaa'))
    .action(run)
}
