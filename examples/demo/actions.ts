/** What the agent can do to the repository. */
import type { Sandbox } from 'deltabox'

export type Action =
  | { readonly tool: 'view'; readonly path: string }
  /** Replaces text that is there exactly once. */
  | { readonly tool: 'edit'; readonly path: string; readonly old: string; readonly new: string }
  | { readonly tool: 'test' }
  /** `stop` lets the server end by itself, `kill` does not. */
  | { readonly tool: 'restart'; readonly how: 'stop' | 'kill' }
  | { readonly tool: 'delete'; readonly path: string }

/** Where the repository lies in the sandbox. */
export const HOME = '/srv/shelf'

export const MANUAL = `Answer with one action, a JSON object:
{"tool": "view", "path": PATH}
{"tool": "edit", "path": PATH, "old": TEXT, "new": TEXT}   replaces TEXT, which must be there exactly once
{"tool": "test"}                                           runs the tests
{"tool": "restart", "how": "stop" | "kill"}                ends the server, by SIGTERM or SIGKILL, and starts it again
{"tool": "delete", "path": PATH}`

export function parseAction(text: string): Action {
  const json = /\{[\s\S]*\}/.exec(text)?.[0]
  const action = json === undefined ? {} : (JSON.parse(json) as Record<string, unknown>)
  const wanted = {
    view: ['path'],
    edit: ['path', 'old', 'new'],
    test: [],
    restart: ['how'],
    delete: ['path'],
  }
  const names = wanted[action.tool as Action['tool']] as readonly string[] | undefined
  if (!names?.every((name) => typeof action[name] === 'string')) {
    throw new Error(`the model answered with no action: ${text.slice(0, 200)}`)
  }
  return action as unknown as Action
}

/** For people. */
export function describe(action: Action): string {
  switch (action.tool) {
    case 'view':
      return `view ${action.path}`
    case 'edit':
      return `edit ${placeOf(action)}: ${changeOf(action.old, action.new)}`
    case 'test':
      return 'run the tests'
    case 'restart':
      return action.how === 'kill' ? 'kill the server, start it again' : 'stop the server, start it again'
    case 'delete':
      return `delete ${action.path}`
  }
}

/** The function, where the text tells. */
function placeOf({ path, old }: { readonly path: string; readonly old: string }): string {
  const name = /\bdef (\w+)/.exec(old)?.[1]
  return name === undefined ? path : `${name}()`
}

/** The first line that is new. */
function changeOf(old: string, changed: string): string {
  const before = new Set(old.split('\n'))
  return (changed.split('\n').find((line) => !before.has(line)) ?? '').trim()
}

/** What the agent is told of it. A tool that fails is an observation like another. */
export async function perform(box: Sandbox, action: Action, signal?: AbortSignal): Promise<string> {
  switch (action.tool) {
    case 'view':
      return await run(box, ['cat', '--', action.path], signal)
    case 'edit':
      return await edit(box, action.path, action.old, action.new)
    case 'test':
      return withoutTimes(await run(box, ['python3', '-m', 'unittest'], signal))
    case 'restart':
      return await restart(box, action.how, signal)
    case 'delete':
      return await run(box, ['rm', '-r', '--', action.path], signal)
  }
}

export async function run(box: Sandbox, command: readonly string[], signal?: AbortSignal): Promise<string> {
  const { exitCode, stdout, stderr } = await box.commands.run(command, {
    ...{ cwd: HOME, env: { PYTHONDONTWRITEBYTECODE: '1' }, timeoutMs: 20_000 },
    ...(signal && { signal }),
  })
  return `${stdout}${stderr}${exitCode === 0 ? '' : `exit status ${exitCode}\n`}`
}

async function edit(box: Sandbox, name: string, old: string, changed: string): Promise<string> {
  const path = `${HOME}/${name}`
  if (!(await box.files.exists(path))) return `there is no ${name}`
  const parts = (await box.files.read(path)).split(old)
  if (parts.length !== 2) return `the text is there ${parts.length - 1} times`
  await box.files.write(path, parts.join(changed))
  return 'done'
}

/** The same for the same state. */
function withoutTimes(report: string): string {
  return report.replace(/ in [\d.]+s$/m, '')
}

const ANSWERS = `python3 -c 'import socket; socket.create_connection(("127.0.0.1", 8080), 1).close()' 2>/dev/null`
const WAIT = `i=0; until ${ANSWERS}; do i=$((i+1)); [ $i -lt 40 ] && kill -0 $! 2>/dev/null || { cat log; exit 1; }; sleep 0.03; done`
/** It outlives the command: a session of its own, and no pipe of ours. */
const START = `setsid python3 -m shelf >log 2>&1 </dev/null & ${WAIT}; echo the server answers`

export async function start(box: Sandbox, signal?: AbortSignal): Promise<string> {
  return await run(box, ['sh', '-c', START], signal)
}

const SIGNALS = { stop: 'TERM', kill: 'KILL' } as const

async function restart(box: Sandbox, how: 'stop' | 'kill', signal?: AbortSignal): Promise<string> {
  const end = `pid=$(cat shelf.pid); kill -${SIGNALS[how]} $pid 2>/dev/null; while [ -d /proc/$pid ]; do sleep 0.01; done`
  return await run(box, ['sh', '-c', `${end}; ${START}`], signal)
}
