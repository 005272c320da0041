/** Those that DeltaBox is compared with bring back what they say, and nothing is left of them. */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { contenders } from '@deltabox/bench/baselines'
import { program } from '@deltabox/bench/inside'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { useDaemon } from './support/use-daemon.js'

/** Where nothing has to be fetched. */
const NAMES = ['deltabox', 'copy-and-replay', 'layer-and-restart', 'git-and-restart']

const the = useDaemon()
const before = { ...process.env }
let workspace: string
/** Whatever they make for themselves is in here. */
let temporary: string

beforeAll(() => {
  process.env.DELTABOX_URL = the.daemon.url
  workspace = mkdtempSync(path.join(tmpdir(), 'dbb-workspace-'))
  mkdirSync(path.join(workspace, 'package'))
  for (const name of ['one.py', 'two.py', 'package/three.py', '.gitignore']) {
    writeFileSync(path.join(workspace, name), 'def function(self):\n    return self\n'.repeat(9))
  }
  writeFileSync(path.join(workspace, '.gitignore'), '*.py\n__pycache__\n')
  temporary = mkdtempSync(path.join(tmpdir(), 'dbb-temporary-'))
})
beforeEach(() => {
  process.env.TMPDIR = temporary
})
afterAll(() => {
  process.env = before
  for (const directory of [workspace, temporary]) rmSync(directory, { recursive: true })
})

interface Told {
  readonly memory: string
  readonly files: string
}

function told(answer: string): Told {
  const [, memory = '', files = ''] = answer.split(' ')
  return { memory, files }
}

/** Processes of the host that have to do with what they made. */
function processesOfTheirs(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const seen = [readlinkSync(`/proc/${pid}/cwd`), readFileSync(`/proc/${pid}/cmdline`, 'utf8')]
        return seen.some((one) => one.includes(temporary))
      } catch {
        return false
      }
    })
}

function mounts(): string {
  return readFileSync('/proc/self/mountinfo', 'utf8')
}

async function nothingMustBeLeft(mountsBefore: string): Promise<void> {
  expect(processesOfTheirs()).toEqual([])
  expect(readdirSync(temporary)).toEqual([])
  expect(mounts()).toBe(mountsBefore)
  expect((await the.daemon.get('/v1/sandboxes')).json.sandboxes).toEqual([])
}

describe.each(contenders.filter(({ name }) => NAMES.includes(name)))('$name', (contender) => {
  it('goes back to any of its states, files and all it promises', async () => {
    const mountsBefore = mounts()
    const contest = await contender.begin({ workspace, program: program('repository.py'), args: [] })
    const tell = async (): Promise<Told> => told(await contest.ask('tell 1'))
    const act = async (seeds: readonly number[]): Promise<void> => {
      for (const seed of seeds) await contest.act(`act 1 ${seed}`)
    }
    const mustBeBack = async (state: Told): Promise<void> => {
      const now = await tell()
      expect(now.files).toBe(state.files)
      if (contender.bringsMemoryBack) expect(now.memory).toBe(state.memory)
    }
    const seeds = { first: [2, 3, 5], second: [7, 11, 13], other: [17, 19, 23] }

    await act(seeds.first)
    const early = await tell()
    const first = await contest.checkpoint()
    expect(await tell()).toEqual(early)
    await act(seeds.second)
    const late = await tell()
    expect(late.files).not.toBe(early.files)
    const second = await contest.checkpoint()
    await contest.restore(first)
    await mustBeBack(early)
    await act(seeds.other)
    expect((await tell()).files).not.toBe(early.files)
    const third = await contest.checkpoint()
    await contest.restore(second)
    await mustBeBack(late)
    await contest.forget(third)
    await contest.restore(first)
    await mustBeBack(early)
    await contest.end()

    await nothingMustBeLeft(mountsBefore)
  })

  it('leaves nothing behind where its program does not run', async () => {
    const mountsBefore = mounts()
    const task = { workspace, program: path.join(workspace, 'package'), args: [] }
    await expect(contender.begin(task)).rejects.toThrow()
    await nothingMustBeLeft(mountsBefore)
  })
})
