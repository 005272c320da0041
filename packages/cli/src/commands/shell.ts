import { Command } from 'commander'
import { DeltaBoxError, Sandbox } from 'deltabox'
import { example } from '../options.js'
import { execIn } from './exec.js'

async function run(sandbox: string): Promise<void> {
  const box = await Sandbox.connect(sandbox)
  try {
    process.exitCode = await execIn(box, ['bash', '-l'], { interactive: true, tty: true })
  } catch (error) {
    if (!(error instanceof DeltaBoxError && error.code === 'command_not_found')) throw error
    process.exitCode = await execIn(box, ['sh', '-l'], { interactive: true, tty: true })
  }
}

export function command(): Command {
  return new Command('shell')
    .description('an interactive shell in a sandbox')
    .argument('<sandbox>')
    .option('--json', 'errors as JSON')
    .addHelpText('after', example('deltabox shell mybox'))
    .action(run)
}
