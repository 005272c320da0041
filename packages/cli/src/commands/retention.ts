import { Command } from 'commander'
import { DeltaBoxError, type RetentionRules, Sandbox } from 'deltabox'
import { addKeepOptions, type KeepFlags, toKeepRules } from '../keep-options.js'
import { example } from '../options.js'
import { counted, printJson, printLines } from '../report.js'

interface RetentionFlags extends KeepFlags {
  readonly none?: boolean
  readonly json?: boolean
}

async function run(sandbox: string, flags: RetentionFlags): Promise<void> {
  const box = await Sandbox.connect(sandbox)
  const rules = toKeepRules(flags)
  const isGiven = Object.keys(rules).length > 0
  if (flags.none && isGiven) throw new DeltaBoxError('invalid_request', '--none takes no rules beside it')
  if (flags.none) await box.setRetention(null)
  else if (isGiven) await box.setRetention(rules)
  const retention = box.info.retention ?? null
  if (flags.json) printJson({ retention })
  else printLines([retention ? `keeps ${described(retention)}` : 'keeps every checkpoint'])
}

function described({ keepLast, keepNewerThanMs, keepLabelled, keep }: RetentionRules): string {
  return [
    ...(keepLast === undefined ? [] : [`the last ${keepLast}`]),
    ...(keepNewerThanMs === undefined
      ? []
      : [`what is newer than ${counted(keepNewerThanMs / 1000, 'second', 'seconds')}`]),
    ...(keepLabelled === false ? [] : ['what has a label']),
    ...(keep ?? []),
  ].join(', ')
}

export function command(): Command {
  const command = new Command('retention')
    .description('set, or tell, which checkpoints of a sandbox stay; the others go by themselves')
    .argument('<sandbox>')
  return addKeepOptions(command)
    .option('--none', 'take the rules away: every checkpoint stays')
    .option('--json', 'print JSON')
    .addHelpText('after', example('deltabox retention --keep-last 20 mybox'))
    .action(run)
}
