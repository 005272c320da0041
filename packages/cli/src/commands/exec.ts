import { Command } from 'commander'
import { DeltaBoxError, Sandbox, type StartOptions } from 'deltabox'
import { attach, exitStatusOf } from '../attach.js'
import { collectEnv, example, positive } from '../options.js'
import { printJson, printLines } from '../report.js'
import { signals } from '../signals.js'
import { terminalSize } from '../terminal.js'

interface ExecFlags {
  readonly interactive?: boolean
  readonly tty?: boolean
  readonly detach?: boolean
  readonly cwd?: string
  readonly env?: Record<string, string>
  readonly user?: string
  readonly timeout?: number
  readonly json?: boolean
}

function startOptions(flags: ExecFlags): StartOptions {
  return {
    stdin: flags.interactive ?? false,
    signal: signals.cancelled,
    ...(flags.cwd === undefined ? {} : { cwd: flags.cwd }),
    ...(flags.env === undefined ? {} : { env: flags.env }),
    ...(flags.user === undefined ? {} : { user: flags.user }),
    ...(flags.timeout === undefined ? {} : { timeoutMs: Math.ceil(flags.timeout * 1000) }),
    ...(flags.tty ? { tty: terminalSize() } : {}),
  }
}

/** commander leaves the `--` in front of the command. */
export function withoutDashes(argv: readonly string[]): readonly string[] {
  return argv[0] === '--' ? argv.slice(1) : argv
}

/** Runs the command with our streams, or collects its output into one document with --json. */
export async function execIn(box: Sandbox, argv: readonly string[], flags: ExecFlags): Promise<number> {
  if (argv.length === 0) throw new DeltaBoxError('invalid_request', 'No command was given after --')
  const options = startOptions(flags)
  if (flags.detach) {
    const info = await box.commands.startDetached(argv, options)
    if (flags.json) printJson(info)
    else printLines([info.process])
    return 0
  }
  if (flags.json) {
    const { stdin: _stdin, tty: _tty, ...rest } = options
    const result = await box.commands.run(argv, flags.interactive ? { ...rest, stdin: process.stdin } : rest)
    printJson(result)
    return exitStatusOf(result)
  }
  const handle = await box.commands.start(argv, options)
  return attach(handle, { stdin: flags.interactive ?? false, tty: flags.tty ?? false })
}

async function run(sandbox: string, argv: string[], flags: ExecFlags): Promise<void> {
  process.exitCode = await execIn(await Sandbox.connect(sandbox), withoutDashes(argv), flags)
}

export function command(): Command {
  return new Command('exec')
    .description('run a command in a sandbox')
    .argument('<sandbox>')
    .argument('<command...>', 'the command and its arguments, after --')
    .option('-i, --interactive', 'pass standard input on')
    .option('-t, --tty', 'give it a terminal')
    .option('-d, --detach', 'leave it running and print its process id')
    .option('--cwd <dir>', 'working directory')
    .option('--env <K=V>', 'environment variable, repeatable', collectEnv)
    .option('--user <user>', 'name or uid[:gid] inside (default: root)')
    .option('--timeout <seconds>', 'kill it after this time', positive)
    .option('--json', 'collect its output and print JSON')
    .passThroughOptions()
    .addHelpText('after', example('deltabox exec -it mybox -- bash'))
    .action(run)
}
