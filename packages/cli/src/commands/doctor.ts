import { Command } from 'commander'
import { checkStore, DeltaBoxError, type DoctorReport, doctor, type StoreProblem } from 'deltabox'
import { example } from '../options.js'
import { printable, printJson, printLines, table } from '../report.js'

interface Flags {
  readonly store?: boolean
  readonly repair?: boolean
  readonly json?: boolean
}

type Check = DoctorReport['checks'][number]

async function run({ store = false, repair = false, json = false }: Flags): Promise<void> {
  if (repair && !store) throw new DeltaBoxError('invalid_request', '--repair goes with --store')
  const report = store ? await checkStore({ repair }) : { ...(await doctor()), problems: [] }
  if (!report.ok) process.exitCode = 1
  if (!json)
    return printLines([...checkLines(report.checks, store), ...report.problems.flatMap(problemLines)])
  const { problems, ...machine } = report
  printJson(store ? report : machine)
}

function checkLines(checks: readonly Check[], store: boolean): string[] {
  return table(checks.map((check) => [verdict(check, store), check.name, check.detail]))
}

function verdict({ ok, required }: Check, store: boolean): string {
  if (ok) return 'ok'
  if (store) return 'DAMAGED'
  return required === false ? 'no' : 'MISSING'
}

function problemLines({ kind, object, detail, checkpoints, repaired }: StoreProblem): string[] {
  const state = repaired ? 'repaired' : 'PROBLEM'
  const affected = checkpoints.length === 0 ? [] : [`  checkpoints: ${checkpoints.join(' ')}`]
  return [printable(`${state}  ${kind}  ${object}: ${detail}`), ...affected]
}

export function command(): Command {
  return new Command('doctor')
    .description('check that this machine has what sandboxes need, or that checkpoints are whole')
    .option('--store', 'read everything that checkpoints need, whether the daemon runs or not')
    .option('--repair', 'with --store: put right what can be; nothing that a checkpoint needs is removed')
    .option('--json', 'print JSON')
    .addHelpText('after', example('deltabox doctor --store --repair'))
    .action(run)
}
