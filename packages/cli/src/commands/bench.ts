import { Command } from 'commander'
import { DeltaBoxError } from 'deltabox'
import { collect, example, positive } from '../options.js'
import { printJson, printLines, table } from '../report.js'
import { signals } from '../signals.js'

interface Flags {
  readonly quick?: boolean
  readonly only?: string[]
  readonly out: string
  readonly from?: string
  readonly check?: boolean
  readonly margin: number
  readonly json?: boolean
}

type Bench = typeof import('@deltabox/bench')
type Verdict = Awaited<ReturnType<Bench['bench']>>['verdicts'][number]

async function run({
  quick = false,
  only,
  out,
  from,
  check = false,
  margin,
  json = false,
}: Flags): Promise<void> {
  const { bench, suites } = await import('@deltabox/bench')
  const unknown = only?.find((name) => !suites.some((suite) => suite.name === name))
  if (unknown !== undefined) {
    const names = suites.map(({ name }) => name).join(', ')
    throw new DeltaBoxError('invalid_request', `there is no suite ${unknown}; there are ${names}`)
  }
  const { results, verdicts, files } = await bench({
    size: quick ? 'quick' : 'full',
    directory: out,
    margin,
    signal: signals.cancelled,
    say: (text) => process.stderr.write(`${text}\n`),
    ...(only && { only }),
    ...(from !== undefined && { from }),
  })
  const ended = results.suites.flatMap(({ name, error }) => (error === undefined ? [] : [name]))
  const broken = verdicts.filter((verdict) => verdict.broken)
  if (json) printJson({ files, verdicts, ended })
  else printLines([...table(verdicts.map(row)), '', ...Object.values(files)])
  for (const name of ended) process.stderr.write(`deltabox: the suite ${name} ended before it was done\n`)
  for (const { promise, atMost, measured } of check ? broken : []) {
    process.stderr.write(
      `deltabox: broken promise: ${promise}: ${measured?.toFixed(2)}, promised ${atMost}\n`,
    )
  }
  const failed = ended.length > 0 || (check && broken.length > 0)
  process.exitCode = signals.exitStatus() ?? (failed ? 1 : 0)
}

function row({ promise, measured, atMost, broken }: Verdict): string[] {
  const verdict = measured === undefined ? '-' : broken ? 'BROKEN' : 'kept'
  return [verdict, promise, measured?.toFixed(2) ?? 'not measured', `at most ${atMost}`]
}

export function command(): Command {
  return new Command('bench')
    .description('measure what sandboxes cost on this machine, and what others cost; writes a report')
    .option('--quick', 'two minutes instead of half an hour')
    .option('--only <suite>', 'only this suite; may be given several times', collect)
    .option('--out <directory>', 'where the report and all samples go', 'deltabox-bench')
    .option('--from <file>', 'measure nothing; report what an earlier run has left in this file')
    .option('--check', 'fail when a promise of SPECIFICATION.md is broken, and name it')
    .option('--margin <factor>', 'promises may be so many times over, on a machine that is busy', positive, 1)
    .option('--json', 'print JSON')
    .addHelpText('after', example('deltabox bench --quick'))
    .action(run)
}
