import { Command } from 'commander'
import { Sandbox } from 'deltabox'
import { addCreateOptions, type CreateFlags, example, positive, toCreateOptions } from '../options.js'
import { signals } from '../signals.js'
import { execIn, withoutDashes } from './exec.js'

interface RunFlags extends CreateFlags {
  readonly rm?: boolean
  readonly interactive?: boolean
  readonly tty?: boolean
  readonly timeout?: number
  readonly json?: boolean
}

async function run(argv: string[], flags: RunFlags): Promise<void> {
  const { rm, interactive, tty, timeout, json, ...create } = flags
  const box = await Sandbox.create({ ...toCreateOptions(create), signal: signals.cancelled })
  try {
    process.exitCode = await execIn(box, withoutDashes(argv), {
      ...(interactive === undefined ? {} : { interactive }),
      ...(tty === undefined ? {} : { tty }),
      ...(timeout === undefined ? {} : { timeout }),
      ...(json === undefined ? {} : { json }),
    })
  } finally {
    if (rm) await box.kill()
    else if (!json) process.stderr.write(`${box.id}\n`)
  }
}

export function command(): Command {
  return addCreateOptions(new Command('run'))
    .description('make a sandbox and run a command in it')
    .argument('<command...>', 'the command and its arguments, after --')
    .option('--rm', 'remove the sandbox afterwards')
    .option('-i, --interactive', 'pass standard input on')
    .option('-t, --tty', 'give the command a terminal')
    .option('--timeout <seconds>', 'kill the command after this time', positive)
    .option('--json', 'collect its output and print JSON')
    .passThroughOptions()
    .addHelpText('after', example("deltabox run --rm --workspace . -- sh -c 'npm test'"))
    .action(run)
}
