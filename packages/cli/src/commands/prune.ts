import { Command } from 'commander'
import { Sandbox } from 'deltabox'
import { addKeepOptions, type KeepFlags, toKeepRules } from '../keep-options.js'
import { example } from '../options.js'
import { counted, mib, printJson, printLines } from '../report.js'

interface PruneFlags extends KeepFlags {
  readonly family?: boolean
  readonly dryRun?: boolean
  readonly json?: boolean
}

async function run(sandbox: string, flags: PruneFlags): Promise<void> {
  const box = await Sandbox.connect(sandbox)
  const { family = false, dryRun = false } = flags
  const pruned = await box.prune({ ...toKeepRules(flags), family, dryRun })
  if (flags.json) {
    printJson(pruned)
    return
  }
  const { removed, kept, freedBytes } = pruned
  const [remove, free] = dryRun ? ['would remove', 'would free'] : ['removed', 'freed']
  const what = counted(removed.length, 'checkpoint', 'checkpoints')
  const { files, memory, disk } = freedBytes
  printLines([
    ...removed.map((id) => `${remove} ${id}`),
    `${remove} ${what}, ${kept} kept`,
    `${free} ${mib(files)} of files, ${mib(memory)} of memory, ${mib(disk)} of images on disk`,
  ])
}

export function command(): Command {
  const command = new Command('prune')
    .description('remove the checkpoints of a sandbox that no rule keeps and no sandbox stands on')
    .argument('<sandbox>')
  return addKeepOptions(command)
    .option('--family', 'prune also those of all it came from and all that came from it')
    .option('--dry-run', 'only tell what would go')
    .option('--json', 'print JSON')
    .addHelpText('after', example('deltabox prune --keep-last 10 --keep-newer-than 2h mybox'))
    .action(run)
}
