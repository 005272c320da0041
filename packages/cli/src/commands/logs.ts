import { pipeline } from 'node:stream/promises'
import { Command } from 'commander'
import { Sandbox } from 'deltabox'
import { example } from '../options.js'
import { printJson } from '../report.js'

async function text(stream: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}

async function run(
  sandbox: string,
  process_: string,
  flags: { follow?: boolean; json?: boolean },
): Promise<void> {
  const box = await Sandbox.connect(sandbox)
  const handle = await box.commands.connect(process_, { attach: false, follow: flags.follow ?? false })
  if (flags.json) {
    const [stdout, stderr] = await Promise.all([text(handle.stdout), text(handle.stderr)])
    printJson({ stdout, stderr, dropped: handle.dropped })
    return
  }
  try {
    await Promise.all([
      pipeline(handle.stdout, process.stdout, { end: false }),
      pipeline(handle.stderr, process.stderr, { end: false }),
    ])
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error
    handle.disconnect()
  }
  for (const name of ['stdout', 'stderr'] as const) {
    const bytes = handle.dropped[name]
    if (bytes > 0) process.stderr.write(`deltabox: the first ${bytes} bytes of ${name} are no longer kept\n`)
  }
}

export function command(): Command {
  return new Command('logs')
    .description('what a process printed (the last 4 MiB of each stream)')
    .argument('<sandbox>')
    .argument('<process>')
    .option('-f, --follow', 'stay until the process ends')
    .option('--json', 'print JSON')
    .addHelpText('after', example('deltabox logs -f mybox p-3k5q2zaa'))
    .action(run)
}
