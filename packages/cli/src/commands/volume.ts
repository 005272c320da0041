import { resolve } from 'node:path'
import { Command } from 'commander'
import { dataDirOf, parseSize } from 'deltabox'
import { example } from '../options.js'
import { gib, printJson, printLines } from '../report.js'
import { createVolume, type Volume } from '../volume/create.js'

interface CreateVolumeFlags {
  readonly size?: string
  readonly json?: boolean
}

function told({ path, image, sizeBytes, mounted }: Volume): string[] {
  const line = `${path}: ${gib(sizeBytes)} in ${image}${mounted ? '' : ', mounted already'}`
  return path === dataDirOf(process.env) ? [line] : [line, `set DELTABOX_DATA=${path} to use it`]
}

async function create(path: string | undefined, flags: CreateVolumeFlags): Promise<void> {
  const volume = await createVolume(
    path === undefined ? dataDirOf(process.env) : resolve(path),
    flags.size === undefined ? undefined : parseSize(flags.size, '--size'),
  )
  if (flags.json) printJson(volume)
  else printLines(told(volume))
}

export function command(): Command {
  const createCommand = new Command('create')
    .description(
      'make PATH.img, an XFS that shares extents, and mount it at PATH; mounts one that is there, as after a reboot',
    )
    .argument('[path]', 'default: the data directory')
    .option('--size <size>', 'of a new image, as 20g; it takes room as it fills')
    .option('--json', 'print JSON')
    .exitOverride()
    .addHelpText('after', example('deltabox volume create --size 20g'))
    .action(create)
  return new Command('volume')
    .description('a data directory on a file system of its own, for hosts whose own has no reflink')
    .addCommand(createCommand)
    .addHelpText('after', example('deltabox volume create --size 20g'))
}
