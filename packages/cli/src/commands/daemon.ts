import { Command } from 'commander'
import { Client, DeltaBoxError } from 'deltabox'
import { example } from '../options.js'
import { printJson, printLines } from '../report.js'

interface JsonFlag {
  readonly json?: boolean
}

async function start(flags: JsonFlag): Promise<void> {
  const info = await Client.default().info()
  if (flags.json) printJson(info)
  else printLines([`daemon ${info.version} runs as process ${info.pid} at ${info.url}`])
}

async function status(flags: JsonFlag): Promise<void> {
  const info = await Client.default().infoIfRunning()
  if (!info) throw new DeltaBoxError('daemon_unreachable', 'No daemon is running')
  if (flags.json) printJson(info)
  else
    printLines([
      `daemon ${info.version} runs as process ${info.pid} at ${info.url}, ${info.sandboxes} sandboxes`,
    ])
}

async function stop(flags: JsonFlag): Promise<void> {
  const client = Client.default()
  const info = await client.infoIfRunning()
  if (info) await client.shutdown()
  if (flags.json) printJson({ stopped: info !== null, pid: info?.pid ?? null })
  else if (!info) printLines(['no daemon is running'])
  else if (info.sandboxes > 0)
    printLines([`stopped; ${info.sandboxes} sandboxes live on until the next daemon`])
}

function subcommand(name: string, description: string, action: (flags: JsonFlag) => Promise<void>): Command {
  return new Command(name)
    .description(description)
    .option('--json', 'print JSON')
    .exitOverride()
    .addHelpText('after', example(`deltabox daemon ${name}`))
    .action(action)
}

export function command(): Command {
  return new Command('daemon')
    .description('the background daemon, which starts by itself when needed')
    .addCommand(subcommand('start', 'start it if it does not run', start))
    .addCommand(subcommand('stop', 'end it; sandboxes live on', stop))
    .addCommand(subcommand('status', 'tell whether and where it runs', status))
    .addHelpText('after', example('deltabox daemon status'))
}
