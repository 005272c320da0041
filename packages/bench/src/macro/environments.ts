/** A world of 64 MiB and of files (environment.py), of which each child changes what is its own. */
import { readFileSync } from 'node:fs'
import type { Checkpoint, Sandbox } from 'deltabox'
import { Asked } from '../inside/asked.js'
import { program } from '../programs.js'
import type { Sdk } from '../suite.js'

export const MEGABYTES = 64
/** Cells for as many children as are asked for are made ready while nothing is. */
export const SETTLED_AFTER_MS = 300
const INSIDE = '/opt/environment.py'

export interface Acted {
  readonly steps: number
  readonly files: number
  readonly namespace: string
}

export interface World {
  readonly box: Sandbox
  readonly checkpoint: Checkpoint
  /** The worker in a sandbox of that state. */
  in(box: Sandbox): Promise<Environment>
}

export interface Environment {
  /** Changes a page, and writes a file of the same number. */
  act(page: number): Promise<Acted>
  /** Fails where other pages and files are not as they were at first. */
  mustHaveChanged(pages: readonly number[]): Promise<void>
}

export async function world({ Sandbox }: Sdk): Promise<World> {
  const box = await Sandbox.create()
  await box.files.write(INSIDE, readFileSync(program('environment.py')))
  const handle = await box.commands.start(['python3', INSIDE, String(MEGABYTES)], { stdin: true })
  const asked = new Asked(handle)
  await asked.ask('look')
  const checkpoint = await box.checkpoint()
  return { box, checkpoint, in: async (one) => environment(await asked.in(one)) }
}

function environment(asked: Asked): Environment {
  return {
    act: async (page) => JSON.parse(await asked.ask('act', page)) as Acted,
    mustHaveChanged: async (pages) => {
      const looked = JSON.parse(await asked.ask('look')) as Record<'pages' | 'files', object>
      const sorted = pages.map(String).sort().join()
      for (const [what, changed] of Object.entries(looked)) {
        const is = Object.keys(changed).sort().join()
        if (is !== sorted) throw new Error(`${what} ${is} are changed instead of ${sorted}`)
      }
    },
  }
}

/** Nobody else has changed anything in it. */
export function mustBeStep({ steps, files }: Acted, wanted: number): void {
  if (steps !== wanted || files !== wanted) {
    throw new Error(`step ${wanted} is the environment’s ${steps}. with ${files} files`)
  }
}
