/** What a checkpoint, a rollback and a fork of files cost, and what the cost grows with. Reads its bounds from SPECIFICATION.md. */
import type { CommandHandle, Sandbox } from 'deltabox'
import { Promises, print, type Row, repeat, summary, timed, withOwnDaemon } from './measure.js'

type Sdk = typeof import('deltabox')

const short = process.argv.includes('--short')
const ROUNDS = short ? 7 : 21
/** A short form has few samples and runs beside other tests. */
const MARGIN = short ? 3 : 1
const LARGE_MB = short ? 64 : 1024
const LARGE_ROUNDS = short ? 7 : 5
const LARGE_TREE = short ? 5_000 : 50_000

const rows: Row[] = []
const promises = new Promises(MARGIN)

function compare(promise: string, what: string, large: readonly number[], small: readonly number[]): void {
  const ratio = summary('', large).median / summary('', small).median
  rows.push(promises.compare(promise, what, ratio))
}

/** One after the other, so that what else the machine does hits both alike. */
async function inTurns(
  rounds: number,
  a: () => Promise<number>,
  b: () => Promise<number>,
): Promise<[number[], number[]]> {
  const samples: [number[], number[]] = [[], []]
  for (let round = 0; round < rounds; round++) {
    samples[0].push(await a())
    samples[1].push(await b())
  }
  return samples
}

async function blocking(box: Sandbox): Promise<number> {
  const checkpoint = await box.checkpoint()
  const { blockingMs } = checkpoint
  if (checkpoint.unchanged) throw new Error('nothing was written before a checkpoint')
  return blockingMs
}

/** A process that lives through all of it and holds `count` files open. */
async function worker(box: Sandbox, count: number, mode: 'r' | 'r+'): Promise<CommandHandle> {
  const script = [
    'import os, time',
    'os.makedirs("/srv/open", exist_ok=True)',
    `for i in range(${count}): open(f"/srv/open/{i}", "w").write("x" * 1000)`,
    `held = [open(f"/srv/open/{i}", "${mode}") for i in range(${count})]`,
    'print("ready", flush=True)',
    'time.sleep(1e6)',
  ].join('\n')
  const handle = await box.commands.start(['python3', '-c', script])
  for await (const piece of handle.stdout) if (String(piece).includes('ready')) break
  return handle
}

async function write(box: Sandbox, megabytes: number): Promise<void> {
  await box.commands.run(`dd if=/dev/zero of=/srv/data bs=1M count=${megabytes} status=none`)
}

async function touch(box: Sandbox): Promise<void> {
  await box.files.write('/srv/small', String(performance.now()))
}

async function blockingAfterTouch(box: Sandbox): Promise<number> {
  await touch(box)
  return await blocking(box)
}

async function bytesWritten({ Sandbox }: Sdk): Promise<void> {
  const [large, small] = [await Sandbox.create(), await Sandbox.create()]
  await Promise.all([worker(large, 3, 'r+'), worker(small, 3, 'r+')])
  const after = (box: Sandbox, megabytes: number) => async (): Promise<number> => {
    await write(box, megabytes)
    return await blocking(box)
  }
  const [a, b] = await inTurns(LARGE_ROUNDS, after(large, LARGE_MB), after(small, 1))
  rows.push(summary(`blocking after ${LARGE_MB} MB written`, a), summary('blocking after 1 MB written', b))
  compare('bytes-written', `${LARGE_MB} MB / 1 MB`, a, b)
  for (const box of [large, small]) await box.kill({ checkpoints: true })
}

async function tree(sdk: Sdk, files: number): Promise<Sandbox> {
  const box = await sdk.Sandbox.create()
  const script = `import os\nfor i in range(${files}):\n d = f"/srv/t/{i % 500}"\n os.makedirs(d, exist_ok=True)\n open(f"{d}/{i}", "w").write("x")`
  await box.commands.run(['python3', '-c', script])
  await worker(box, 3, 'r+')
  await box.checkpoint()
  return box
}

async function treeSize(sdk: Sdk): Promise<void> {
  const [large, small] = [await tree(sdk, LARGE_TREE), await tree(sdk, 500)]
  const [a, b] = await inTurns(
    ROUNDS,
    () => blockingAfterTouch(large),
    () => blockingAfterTouch(small),
  )
  rows.push(summary(`blocking in a tree of ${LARGE_TREE} files`, a), summary('blocking in a tree of 500', b))
  compare('tree-size', `${LARGE_TREE} files / 500`, a, b)
  const back = async (box: Sandbox): Promise<() => Promise<number>> => {
    const target = await box.checkpoint()
    return async () => {
      await touch(box)
      return await timed(() => box.rollback(target))
    }
  }
  const [c, d] = await inTurns(ROUNDS, await back(large), await back(small))
  rows.push(summary(`rollback in a tree of ${LARGE_TREE} files`, c), summary('rollback in a tree of 500', d))
  compare('rollback-tree-size', `${LARGE_TREE} files / 500`, c, d)
  for (const box of [large, small]) await box.kill({ checkpoints: true })
}

async function depth({ Sandbox }: Sdk): Promise<void> {
  const [deep, shallow] = [await Sandbox.create(), await Sandbox.create()]
  await Promise.all([worker(deep, 3, 'r+'), worker(shallow, 3, 'r+')])
  while ((await deep.checkpoint()).depth < 64) await touch(deep)
  const [a, b] = await inTurns(
    ROUNDS,
    () => blockingAfterTouch(deep),
    () => blockingAfterTouch(shallow),
  )
  rows.push(summary('blocking on 64 layers and more', a), summary('blocking on 25 layers and fewer', b))
  compare('depth', '64 layers / 25', a, b)
  for (const box of [deep, shallow]) await box.kill({ checkpoints: true })
}

async function openFiles({ Sandbox }: Sdk): Promise<void> {
  const holding = async (count: number, mode: 'r' | 'r+'): Promise<Sandbox> => {
    const box = await Sandbox.create()
    await worker(box, count, mode)
    return box
  }
  const [many, some] = [await holding(1000, 'r'), await holding(100, 'r')]
  const [a, b] = await inTurns(
    ROUNDS,
    () => blockingAfterTouch(many),
    () => blockingAfterTouch(some),
  )
  rows.push(summary('blocking with 1000 files open for reading', a), summary('blocking with 100', b))
  compare('open-files', '1000 files / 100', a, b)
  const [writing, none] = [await holding(100, 'r+'), await holding(0, 'r')]
  const [c, d] = await inTurns(
    ROUNDS,
    () => blockingAfterTouch(writing),
    () => blockingAfterTouch(none),
  )
  rows.push(summary('blocking with 100 files of 1 KB open for writing', c), summary('blocking with none', d))
  for (const box of [many, some, writing, none]) await box.kill({ checkpoints: true })
}

async function processes({ Sandbox }: Sdk): Promise<void> {
  for (const count of [1, 10, 50]) {
    const box = await Sandbox.create()
    for (let started = 0; started < count; started++) {
      await box.commands.start(['python3', '-c', 'f = open("/srv/f", "a"); import time; time.sleep(1e6)'])
    }
    rows.push(
      summary(
        `blocking with ${count} Python processes`,
        await repeat(short ? 3 : 11, () => blockingAfterTouch(box)),
      ),
    )
    await box.kill({ checkpoints: true })
  }
}

async function whole({ Sandbox }: Sdk): Promise<void> {
  const box = await Sandbox.create()
  await worker(box, 3, 'r+')
  const through: number[] = []
  const steps = new Map<string, number[]>()
  for (let round = 0; round < ROUNDS; round++) {
    await touch(box)
    const started = performance.now()
    const { timings } = await box.checkpoint()
    through.push(performance.now() - started)
    for (const [step, ms] of Object.entries(timings ?? {})) {
      steps.set(step, [...(steps.get(step) ?? []), ms])
    }
  }
  rows.push(summary('checkpoint, through the SDK', through))
  for (const [step, samples] of steps) rows.push(summary(`  ${step}`, samples))
  rows.push(summary('checkpoint, nothing changed', await repeat(ROUNDS, () => timed(() => box.checkpoint()))))
  await box.kill({ checkpoints: true })
}

async function forks({ Sandbox }: Sdk): Promise<void> {
  const box = await Sandbox.create()
  await touch(box)
  const origin = await box.checkpoint()
  const forking = async (count: number, times = 1): Promise<number> => {
    const kids: Sandbox[] = []
    const took = await timed(async () => {
      for (let time = 0; time < times; time++) kids.push(...(await origin.fork(count)))
    })
    for (const kid of kids) await kid.kill()
    return took
  }
  const [many, ones] = await inTurns(
    short ? 3 : 7,
    () => forking(16),
    () => forking(1, 16),
  )
  const one = await repeat(short ? 3 : 7, () => forking(1))
  rows.push(summary('fork(1)', one), summary('fork(1), 16 in a row', ones), summary('fork(16)', many))
  if (!short) rows.push(summary('fork(64)', await repeat(3, () => forking(64))))
  compare('fork-many', 'fork(16) / 16 x fork(1)', many, ones)
  await box.kill({ checkpoints: true })
}

await withOwnDaemon(
  async (sdk) => {
    for (const part of [whole, bytesWritten, treeSize, depth, openFiles, processes, forks]) await part(sdk)
  },
  // The depth of a chain is what is measured.
  { DELTABOX_MERGE_DEPTH: '400' },
)
print({ rows })
promises.conclude()
