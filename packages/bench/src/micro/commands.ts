/** Sandboxes with nothing in them, and commands that run in one. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Sandbox } from 'deltabox'
import type { Recorder, Samples } from '../recorder.js'
import type { Parameters } from '../results.js'
import { type Bench, CALL, inTurns, type Sdk, settle } from '../suite.js'

const cli = fileURLToPath(new URL('../../../../bin/deltabox', import.meta.url))

type Of = (operation: string, timer?: string, parameters?: Parameters) => Samples

/** `true`, in a sandbox that is new or has just got its state. */
export function execFirst(
  record: Recorder,
  group: string,
  after: 'create' | 'rollback' | 'fork',
): (box: Sandbox) => Promise<void> {
  const timer = `from the call of commands.run(['true']) to its result, the first command since the ${after}`
  const key = {
    group,
    system: 'deltabox',
    operation: 'exec-first',
    parameters: { after },
    unit: 'ms',
  } as const
  const samples = record.samples({ ...key, timer })
  return (box) => runTrue(samples, box)
}

async function runTrue(samples: Samples, box: Sandbox): Promise<void> {
  await samples.time(() => box.commands.run(['true']))
}

export async function measureCommands(sdk: Sdk, { size, record }: Bench, group: string): Promise<void> {
  const of: Of = (operation, timer = CALL, parameters = {}) =>
    record.samples({ group, system: 'deltabox', operation, parameters, unit: 'ms', timer })
  const rounds = size === 'full' ? 100 : 8
  const first = execFirst(record, group, 'create')
  await inTurns(rounds, [() => createAndRemove(sdk, of, first)])
  const box = await sdk.Sandbox.create()
  const shell = await box.shell()
  const text = 'x'.repeat(1024)
  const run = 'from the call of commands.run to its result'
  await box.commands.run(['true'])
  await inTurns(rounds, [
    () => runTrue(of('exec', `${run}; the command is true`), box),
    () =>
      of(
        'exec-shell',
        'from the call of run of a shell() that is open to its result; the script is true',
      ).time(() => shell.run('true')),
    () => of('write-file', CALL, { bytes: text.length }).time(() => box.files.write('/root/f', text)),
  ])
  const megabytes = size === 'full' ? 200 : 20
  await inTurns(size === 'full' ? 5 : 1, [
    () => of('output', `${run}; the command writes zeros`, { megabytes }).time(() => output(box, megabytes)),
  ])
  await shell.close()
  await listByCli(of, record, size === 'full' ? 21 : 3)
  await box.kill()
}

/** What is made ahead of the next is waited for. */
async function createAndRemove(
  { Sandbox }: Sdk,
  of: Of,
  first: (box: Sandbox) => Promise<void>,
): Promise<void> {
  await settle()
  const created = `${CALL}; an engine and a cell were made ready before`
  const box = await of('create', created).time(
    () => Sandbox.create(),
    ({ info }) => info.timings ?? {},
  )
  if (!box) return
  await first(box)
  await of('remove').time(() => box.kill())
}

async function output(box: Sandbox, megabytes: number): Promise<void> {
  const command = `head -c ${megabytes}m /dev/zero`
  const { stdout } = await box.commands.run(command, { encoding: 'buffer', maxOutputBytes: 2 ** 28 })
  if (stdout.length !== megabytes << 20) throw new Error(`${stdout.length} bytes have come`)
}

async function listByCli(of: Of, record: Recorder, rounds: number): Promise<void> {
  if (!existsSync(cli)) {
    record.skip('`deltabox ls`', `there is no ${cli}`)
    return
  }
  const timer = 'from the start of the program `deltabox ls` to its end'
  await inTurns(rounds, [
    () =>
      of('cli-ls', timer).time(async () => {
        const { status } = spawnSync(cli, ['ls'])
        if (status !== 0) throw new Error(`deltabox ls ended with ${status}`)
      }),
  ])
}
