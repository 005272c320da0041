import { Command } from 'commander'
import { type DoctorReport, doctor } from 'deltabox'
import { example } from '../options.js'
import { printJson, printLines, table } from '../report.js'

function verdict({ ok, required }: DoctorReport['checks'][number]): string {
  if (ok) return 'ok'
  return required === false ? 'no' : 'MISSING'
}

async function run(flags: { json?: boolean }): Promise<void> {
  const report = await doctor()
  if (flags.json) printJson(report)
  else printLines(table(report.checks.map((check) => [verdict(check), check.name, check.detail])))
  if (!report.ok) process.exitCode = 1
}

export function command(): Command {
  return new Command('doctor')
    .description('check that this machine has what sandboxes need')
    .option('--json', 'print JSON')
    .addHelpText('after', example('deltabox doctor'))
    .action(run)
}
