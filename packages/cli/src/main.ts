#!/usr/bin/env node
import { Command } from 'commander'
import { commandTable } from './command-table.js'
import { reportError } from './report.js'
import { signals } from './signals.js'

const VERSION = '0.1.0'

/** Only the command that was asked for is loaded: starting up is most of what a short command costs. */
async function main(argv: readonly string[]): Promise<void> {
  const program = new Command('deltabox')
    .description('Sandboxes for agents: run commands on a copy-on-write copy of this machine.')
    .version(VERSION)
    .enablePositionalOptions()
    .showHelpAfterError('(run with --help to see what it takes)')
  const asked = commandTable.find((entry) => entry.name === argv[0])
  for (const entry of asked ? [asked] : commandTable) program.addCommand((await entry.load()).command())
  program.exitOverride()
  for (const command of program.commands) command.exitOverride()
  try {
    await program.parseAsync(argv as string[], { from: 'user' })
  } catch (error) {
    process.exitCode = signals.exitStatus() ?? reportError(error, argv)
  }
}

// A reader of ours that went away (`| head`) is no fault; what was to be done is done.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
})

await main(process.argv.slice(2))
