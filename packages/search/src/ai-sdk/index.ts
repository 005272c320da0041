/** Tools of Vercel's AI SDK, for a model that works in a sandbox and can go back when something went wrong. */
import type { Tool } from 'ai'
import { DeltaBoxError, type Sandbox } from 'deltabox'
import { z } from 'zod'

export interface ToolsOptions {
  /** Most characters of a stream or a file that the model is shown: of more, the beginning and the end. Default: 16 000. */
  readonly maxChars?: number
  /** Milliseconds after which a command is killed, unless the model asks for others. Default: 120 000. */
  readonly timeoutMs?: number
}

export interface CommandOutput {
  /** null: a signal ended it. */
  readonly exitCode: number | null
  readonly stdout: string
  readonly stderr: string
  readonly timedOut?: true
}

/** A type, not an interface: the AI SDK takes records of tools. */
export type DeltaBoxTools = {
  runCommand: Tool<{ command: string; timeoutMs?: number | undefined }, CommandOutput>
  readFile: Tool<{ path: string }, { content: string }>
  writeFile: Tool<{ path: string; content: string }, { written: string }>
  listFiles: Tool<{ path: string }, { entries: { name: string; type: string; size: number }[] }>
  checkpoint: Tool<{ label: string }, { checkpoint: string; processes: number }>
  rollback: Tool<{ checkpoint: string }, { checkpoint: string; processes: number }>
  diff: Tool<{ from?: string | undefined }, { changes: string[] }>
}

/** What fails is told to the model, as the AI SDK does with whatever a tool throws. */
export function deltaboxTools(box: Sandbox, options: ToolsOptions = {}): DeltaBoxTools {
  const inTurn = turns()
  const tools = { ...commandAndFileTools(box, options), ...stateTools(box) }
  for (const tool of Object.values(tools) as Tool<unknown, unknown>[]) {
    const { execute } = tool
    if (execute) tool.execute = (input, call) => inTurn(async () => await execute(input, call))
  }
  return tools
}

/** A model may call several at once: they are done in the order of the calls, or a checkpoint would be of any moment among them. */
function turns(): <T>(work: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve()
  return (work) => {
    const done = last.then(work)
    last = done.catch(() => undefined)
    return done
  }
}

const path = z.string().min(1).describe('Relative paths start at the working directory.')

type CommandAndFileTools = Pick<DeltaBoxTools, 'runCommand' | 'readFile' | 'writeFile' | 'listFiles'>

function commandAndFileTools(
  box: Sandbox,
  { maxChars = 16_000, timeoutMs = 120_000 }: ToolsOptions,
): CommandAndFileTools {
  return {
    runCommand: {
      description: 'Run a shell command in the sandbox, to its end.',
      inputSchema: z.object({
        command: z.string().min(1),
        timeoutMs: z.int().positive().optional().describe(`Default: ${timeoutMs}`),
      }),
      execute: async (input, { abortSignal: signal }) => {
        const { stdout, stderr, ...ended } = await run(box, input.command, {
          timeoutMs: input.timeoutMs ?? timeoutMs,
          signal,
        })
        return { ...ended, stdout: shortened(stdout, maxChars), stderr: shortened(stderr, maxChars) }
      },
    },
    readFile: {
      description: 'Read a text file of the sandbox.',
      inputSchema: z.object({ path }),
      execute: async (input, { abortSignal: signal }) => {
        const content = await box.files.read(input.path, { ...(signal && { signal }) })
        return { content: shortened(content, maxChars) }
      },
    },
    writeFile: {
      description: 'Write a text file of the sandbox, replacing what is there; missing directories are made.',
      inputSchema: z.object({ path, content: z.string() }),
      execute: async (input, { abortSignal: signal }) => {
        await box.files.write(input.path, input.content, { ...(signal && { signal }) })
        return { written: input.path }
      },
    },
    listFiles: {
      description: 'List a directory of the sandbox.',
      inputSchema: z.object({ path }),
      execute: async (input, { abortSignal: signal }) => {
        const entries = await box.files.list(input.path, { ...(signal && { signal }) })
        return { entries: entries.map(({ name, type, size }) => ({ name, type, size })) }
      },
    },
  }
}

function stateTools(box: Sandbox): Pick<DeltaBoxTools, 'checkpoint' | 'rollback' | 'diff'> {
  return {
    checkpoint: {
      description:
        'Keep the state of the sandbox, all files and running processes. Cheap: do it before anything that may go wrong.',
      inputSchema: z.object({ label: z.string().min(1).describe('What this state is.') }),
      execute: async ({ label }, { abortSignal: signal }) => {
        const { id, processes } = await box.checkpoint({ label, signal })
        return { checkpoint: id, processes }
      },
    },
    rollback: {
      description:
        'Put the sandbox back into the state of a checkpoint: all files and processes as they were. What was done since is gone.',
      inputSchema: z.object({ checkpoint: z.string().min(1).describe('The id that checkpoint gave.') }),
      execute: async (input, { abortSignal: signal }) => {
        const { checkpoint, processes } = await box.rollback(input.checkpoint, { signal })
        return { checkpoint, processes }
      },
    },
    diff: {
      description: 'Which files are different now: A added, M modified, D deleted.',
      inputSchema: z.object({
        from: z.string().min(1).optional().describe('The id of a checkpoint. Default: the beginning.'),
      }),
      execute: async ({ from }, { abortSignal: signal }) => {
        const changes = await box.diff(from, { signal })
        return { changes: changes.map((change) => `${change.kind} ${change.path}`) }
      },
    },
  }
}

/** What a command printed before it was killed for its time is of use to the model. */
async function run(
  box: Sandbox,
  command: string,
  options: { readonly timeoutMs: number; readonly signal: AbortSignal | undefined },
): Promise<CommandOutput> {
  try {
    const { exitCode, stdout, stderr } = await box.commands.run(command, options)
    return { exitCode, stdout, stderr }
  } catch (error) {
    if (!(error instanceof DeltaBoxError && error.code === 'timeout')) throw error
    const { stdout, stderr } = error.details as { stdout: string; stderr: string }
    return { exitCode: null, stdout, stderr, timedOut: true }
  }
}

function shortened(text: string, maxChars: number): string {
  if (text.length <= maxChars) return text
  const half = Math.floor(maxChars / 2)
  const left = text.length - 2 * half
  return `${text.slice(0, half)}\n… ${left} characters are left out here …\n${text.slice(-half)}`
}
