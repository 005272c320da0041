import { Command } from 'commander'
import { DeltaBoxError } from 'deltabox'
import { copy } from '../copy/copy.js'
import { hostEnd } from '../copy/host-end.js'
import { sandboxEnd } from '../copy/sandbox-end.js'
import { copyFromStdin, copyToStdout } from '../copy/stdio.js'
import { example } from '../options.js'
import { printJson } from '../report.js'
import { parseSandboxPath } from '../sandbox-path.js'

async function run(source: string, target: string, flags: { json?: boolean }): Promise<void> {
  const from = parseSandboxPath(source)
  const to = parseSandboxPath(target)
  if (!from && !to) {
    throw new DeltaBoxError(
      'invalid_request',
      `Neither ${source} nor ${target} is in a sandbox (SANDBOX:PATH)`,
    )
  }
  if (source === '-' && to) {
    await copyFromStdin(to)
  } else if (target === '-' && from) {
    await copyToStdout(from)
    return
  } else {
    await copy(from ? await sandboxEnd(from) : hostEnd(source), to ? await sandboxEnd(to) : hostEnd(target))
  }
  if (flags.json) printJson({ source, target })
}

export function command(): Command {
  return new Command('cp')
    .description('copy files between this host and sandboxes; - is standard input or output')
    .argument('<source>', 'PATH or SANDBOX:PATH')
    .argument('<target>', 'PATH or SANDBOX:PATH')
    .option('--json', 'print JSON')
    .addHelpText('after', example('deltabox cp mybox:/root/result.txt .'))
    .action(run)
}
