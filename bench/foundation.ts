/** What the foundation costs on this machine. Prints medians; asserts nothing. */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Sandbox as Box } from 'deltabox'
import { print, type Row, repeat, summary, timed, withOwnDaemon } from './measure.js'

type Sdk = typeof import('deltabox')

const deltabox = fileURLToPath(new URL('../bin/deltabox', import.meta.url))

function memoryMb(pid: number, field: string): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) / 1024
}

function enginePids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'deltabox-engine'
      } catch {
        return false // it ended while we looked
      }
    })
}

/** The spare engine is made again in the background after a create; the next sample waits for it. */
async function settle(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 60))
}

async function measure({ Client, Sandbox }: Sdk): Promise<Row[]> {
  const rows: Row[] = []
  const info = await Client.default().info()
  await settle()
  rows.push(summary('idle daemon, resident', [memoryMb(info.pid, 'VmRSS')], 'MB'))
  const creates: number[] = []
  const inside: number[] = []
  const removes: number[] = []
  for (let round = 0; round < 50; round++) {
    await settle()
    let box: Box | undefined
    creates.push(
      await timed(async () => {
        box = await Sandbox.create()
      }),
    )
    inside.push(box?.info.createdMs ?? Number.NaN)
    removes.push(await timed(async () => box?.kill()))
  }
  rows.push(summary('create, through the SDK, warm cell', creates))
  rows.push(summary('create, as the daemon measures it', inside))
  rows.push(summary('remove', removes))
  const box = await Sandbox.create()
  rows.push(summary('run `true`', await repeat(100, () => timed(() => box.commands.run(['true'])))))
  rows.push(summary('run `sh -c` in a shell() kept open', await shellRuns(box)))
  rows.push(
    summary(
      'write a file of 1 KB',
      await repeat(100, () => timed(() => box.files.write('/root/f', 'x'.repeat(1024)))),
    ),
  )
  const seconds =
    (await timed(() =>
      box.commands.run('head -c 200m /dev/zero', { encoding: 'buffer', maxOutputBytes: 2 ** 28 }),
    )) / 1000
  rows.push(summary('output of a command', [200 / seconds], 'MB/s'))
  rows.push(summary('`deltabox ls`', await repeat(21, () => timed(async () => spawnSync(deltabox, ['ls'])))))
  rows.push(
    summary(
      'engine with one sandbox, resident',
      enginePids().map((pid) => memoryMb(pid, 'VmRSS')),
      'MB',
    ),
  )
  rows.push(
    summary(
      'engine with one sandbox, its own',
      enginePids().map((pid) => memoryMb(pid, 'RssAnon')),
      'MB',
    ),
  )
  await box.kill()
  return rows
}

async function shellRuns(box: Box): Promise<number[]> {
  const shell = await box.shell()
  const samples = await repeat(100, () => timed(() => shell.run('true')))
  await shell.close()
  return samples
}

await withOwnDaemon(async (sdk) => {
  print({ rows: await measure(sdk) })
})
