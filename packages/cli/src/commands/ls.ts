import { Command } from 'commander'
import { type FileEntry, Sandbox } from 'deltabox'
import { age } from '../age.js'
import { example } from '../options.js'
import { printable, printJson, printLines, table } from '../report.js'
import { parseSandboxPath } from '../sandbox-path.js'

function entryRow(entry: FileEntry): string[] {
  const target = entry.target === undefined ? '' : ` -> ${printable(entry.target)}`
  const name = printable(entry.name) + target
  return [
    entry.type,
    entry.mode.toString(8).padStart(4, '0'),
    `${entry.uid}:${entry.gid}`,
    String(entry.size),
    name,
  ]
}

async function listFiles(sandbox: string, path: string, json: boolean): Promise<void> {
  const box = await Sandbox.connect(sandbox)
  const entries = (await box.files.list(path)).sort((a, b) => (a.name < b.name ? -1 : 1))
  if (json) printJson({ entries })
  else printLines(table(entries.map(entryRow)))
}

async function run(where: string | undefined, flags: { json?: boolean }): Promise<void> {
  const target = where === undefined ? null : (parseSandboxPath(where) ?? { sandbox: where, path: '.' })
  if (target) {
    await listFiles(target.sandbox, target.path, flags.json ?? false)
    return
  }
  const sandboxes = await Sandbox.list()
  if (flags.json) printJson({ sandboxes })
  else {
    const rows = sandboxes.map((box) => [
      box.id,
      box.name ?? '-',
      box.state,
      age(box.createdAt),
      box.workspace ?? '-',
    ])
    printLines(table([['ID', 'NAME', 'STATE', 'AGE', 'WORKSPACE'], ...rows]))
  }
}

export function command(): Command {
  return new Command('ls')
    .description('list the sandboxes, or the files in one')
    .argument('[sandbox:path]')
    .option('--json', 'print JSON')
    .addHelpText('after', example('deltabox ls mybox:/etc'))
    .action(run)
}
