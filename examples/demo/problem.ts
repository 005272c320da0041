/** The repository with its bug in a sandbox, its server running, and what a state of it is worth. */
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { counted, type Message, type Model, type SearchOptions, type StepContext } from '@deltabox/search'
import { Sandbox } from 'deltabox'
import { type Action, HOME, MANUAL, parseAction, perform, run, start } from './actions.js'

export const here: string = path.dirname(fileURLToPath(import.meta.url))
/** What customers put before the agent came. */
const THINGS = 300

export const TASK = `In ${HOME} is the source of a catalogue that is served over HTTP, with its tests. Customers see old prices: a
change of a thing is not seen by those who look at it under another spelling of its name. Find out why and put it right, in the source and in the
server that runs. Nothing that customers have put may be lost, and the server must stay as quick as it is.
${MANUAL}`

/** A new sandbox with the repository as it was written. */
export async function install(name: string): Promise<Sandbox> {
  const box = await Sandbox.create({ name, memory: '1g' })
  for (const [file, text] of await repository()) await box.files.write(`${HOME}/${file}`, text)
  return box
}

/** The server runs, and has what customers have put: in memory, as no file has it until the server is stopped. */
export async function open(box: Sandbox): Promise<void> {
  const said = (await start(box)) + (await run(box, ['python3', '-c', await traffic(), String(THINGS)]))
  if (said !== 'the server answers\n') throw new Error(`the server did not start: ${said}`)
}

async function repository(): Promise<[file: string, text: string][]> {
  const root = path.join(here, 'repository')
  const files = (await readdir(root, { recursive: true })).filter((file) => /\.(py|md)$/.test(file))
  return await Promise.all(
    files.map(
      async (file): Promise<[string, string]> => [file, await readFile(path.join(root, file), 'utf8')],
    ),
  )
}

const traffic = (): Promise<string> => readFile(path.join(here, 'traffic.py'), 'utf8')
const check = (): Promise<string> => readFile(path.join(here, 'check.py'), 'utf8')

/** Tests that the agent has not seen, and the server asked, changed and emptied: what that does is put back. */
export async function evaluate(box: Sandbox, signal?: AbortSignal): Promise<number> {
  const said = await run(box, ['python3', '-c', await check(), String(THINGS)], signal)
  return (JSON.parse(said) as { value: number }).value
}

type Steps = Pick<SearchOptions<Action, string>, 'propose' | 'act' | 'evaluate'>

export function steps(model: Model): Steps {
  return {
    propose: async (context) => {
      const asked = { system: TASK, messages: conversation(context) }
      const { text } = await counted(model, context).complete(asked)
      return parseAction(text)
    },
    act: (box, action, { signal }) => perform(box, action, signal),
    evaluate: async (box, { signal }) => {
      const value = await evaluate(box, signal)
      return { value, done: value === 1 }
    },
  }
}

/** What was done and seen on the way, and what was proposed at the end of it. */
function conversation({ path: way, siblings, index }: StepContext<Action, string>): Message[] {
  const turns = way.slice(1).flatMap(({ action, observation }): Message[] => [
    { role: 'assistant', content: JSON.stringify(action) },
    { role: 'user', content: observation ?? '' },
  ])
  const earlier = siblings.map(({ action }) => JSON.stringify(action)).join('\n')
  const other = `${index} proposals were made here; make another one.${earlier && ` Some of them:\n${earlier}`}`
  const last = turns.pop()
  const asked = `${last?.content ?? 'Begin.'}\n\n${index > 0 ? other : 'What is to be done next?'}`
  return [
    ...(turns.length > 0 ? [{ role: 'user' as const, content: 'Begin.' }] : []),
    ...turns,
    { role: 'user', content: asked },
  ]
}
