import { Command } from 'commander'
import { DeltaBoxError, Sandbox } from 'deltabox'
import { example } from '../options.js'
import { printJson, printLines } from '../report.js'

async function run(names: string[], flags: { all?: boolean; json?: boolean }): Promise<void> {
  if (names.length === 0 && !flags.all) {
    throw new DeltaBoxError('invalid_request', 'rm takes sandboxes, or --all')
  }
  const wanted = flags.all ? (await Sandbox.list()).map((info) => info.id) : names
  const removed: string[] = []
  // all names are looked up before any is removed: a mistyped one removes nothing
  const boxes = await Promise.all(wanted.map((name) => Sandbox.connect(name)))
  for (const box of boxes) {
    await box.kill()
    removed.push(box.id)
  }
  if (flags.json) printJson({ removed })
  else printLines(removed)
}

export function command(): Command {
  return new Command('rm')
    .description('end and remove sandboxes')
    .argument('[sandbox...]')
    .option('--all', 'remove every sandbox')
    .option('--json', 'print JSON')
    .addHelpText('after', example('deltabox rm mybox'))
    .action(run)
}
