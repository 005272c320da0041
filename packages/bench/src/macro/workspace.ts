/** Files that are edited so that a disk keeps each edit: in a sandbox by checkpoints, or without one. */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Random } from '@deltabox/search'
import type { Sandbox } from 'deltabox'
import { program } from '../programs.js'
import { type Sdk, until } from '../suite.js'

/** From and up to so many kilobytes. */
const SIZES = { '1-8': [1, 8], '128-256': [128, 256] } as const
const FILES_OF_A_SIZE = 16
const CHANGED = 300

export type FileKilobytes = keyof typeof SIZES
export const FILE_KILOBYTES: readonly FileKilobytes[] = ['1-8', '128-256']
export type Edit = 'in-place' | 'replaced'

interface Place {
  write(name: string, content: Buffer): Promise<void>
  read(name: string): Promise<Buffer>
  /** With the arguments of edit.py that come after the path. */
  edit(name: string, args: readonly string[]): Promise<void>
}

export interface Workspace {
  readonly system: 'deltabox' | 'bare'
  /** Some bytes of one of these files, anywhere. Returns when a disk has it. */
  edit(kilobytes: FileKilobytes, edit: Edit): Promise<void>
  /** That all files say what was written to them. */
  verify(): Promise<void>
}

export async function workspaceInSandbox(sandboxes: Sdk['Sandbox'], box: Sandbox): Promise<Workspace> {
  await box.files.write('/opt/edit.py', readFileSync(program('edit.py')))
  const workspace = await fill('deltabox', inSandbox(sandboxes, box))
  await kept(sandboxes, box)
  return workspace
}

export async function workspaceOnDisk(directory: string): Promise<Workspace> {
  mkdirSync(directory)
  return await fill('bare', onDisk(directory))
}

async function fill(system: Workspace['system'], place: Place): Promise<Workspace> {
  const random = new Random(1)
  const files = new Map<string, Buffer>()
  for (const kilobytes of FILE_KILOBYTES) {
    const [least, most] = SIZES[kilobytes]
    for (let number = 0; number < FILES_OF_A_SIZE; number++) {
      const content = randomBytes(1024 * least + random.below(1024 * (most - least)))
      files.set(nameOf(kilobytes, number), content)
      await place.write(nameOf(kilobytes, number), content)
    }
  }
  return {
    system,
    async edit(kilobytes, edit) {
      const name = nameOf(kilobytes, random.below(FILES_OF_A_SIZE))
      const content = files.get(name) ?? Buffer.alloc(0)
      const offset = random.below(content.length - CHANGED)
      const text = randomBytes(CHANGED / 2).toString('hex')
      await place.edit(name, [edit, String(offset), text])
      content.write(text, offset)
    },
    async verify() {
      for (const [name, content] of files) {
        const isAsWritten = content.equals(await place.read(name))
        if (!isAsWritten) throw new Error(`${system}: ${name} is not what was written`)
      }
    },
  }
}

function nameOf(kilobytes: FileKilobytes, number: number): string {
  return `${kilobytes}-${number}`
}

function inSandbox(sandboxes: Sdk['Sandbox'], box: Sandbox): Place {
  const at = (name: string): string => `/srv/workspace/${name}`
  return {
    write: (name, content) => box.files.write(at(name), content),
    read: (name) => box.files.read(at(name), { format: 'bytes' }),
    async edit(name, args) {
      const { exitCode, stderr } = await box.commands.run(['python3', '/opt/edit.py', at(name), ...args])
      if (exitCode !== 0) throw new Error(`${name} was not edited: ${stderr}`)
      await kept(sandboxes, box)
    },
  }
}

async function kept(sandboxes: Sdk['Sandbox'], box: Sandbox): Promise<void> {
  const { id } = await box.checkpoint()
  await until(async () => (await sandboxes.getCheckpoint(id)).state === 'durable')
}

function onDisk(directory: string): Place {
  const at = (name: string): string => path.join(directory, name)
  return {
    write: async (name, content) => writeFileSync(at(name), content),
    read: async (name) => readFileSync(at(name)),
    async edit(name, args) {
      execFileSync('python3', [program('edit.py'), at(name), ...args, 'sync'])
    },
  }
}
