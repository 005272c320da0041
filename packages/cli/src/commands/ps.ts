import { Command } from 'commander'
import { type ProcessInfo, Sandbox } from 'deltabox'
import { example } from '../options.js'
import { printJson, printLines, table } from '../report.js'

function stateOf(info: ProcessInfo): string {
  if (info.state !== 'exited') return info.state
  const why = info.timedOut ? ' (timed out)' : info.oomKilled ? ' (out of memory)' : ''
  return `exited ${info.signal ?? info.exitCode}${why}`
}

async function run(sandbox: string, flags: { json?: boolean }): Promise<void> {
  const box = await Sandbox.connect(sandbox)
  const processes = await box.commands.list()
  if (flags.json) printJson({ processes })
  else {
    const rows = processes.map((info) => [
      info.process,
      String(info.pid),
      stateOf(info),
      info.command.join(' '),
    ])
    printLines(table([['PROCESS', 'PID', 'STATE', 'COMMAND'], ...rows]))
  }
}

export function command(): Command {
  return new Command('ps')
    .description('the processes started in a sandbox')
    .argument('<sandbox>')
    .option('--json', 'print JSON')
    .addHelpText('after', example('deltabox ps mybox'))
    .action(run)
}
