/** The tools for Vercel's AI SDK, and the example that uses them. */
import { deltaboxTools, type ToolsOptions } from '@deltabox/search/ai-sdk'
import { asSchema, type Tool } from 'ai'
import { Sandbox } from 'deltabox'
import { describe, expect, it } from 'vitest'
import { runExample } from './support/example.js'
import { useBoxes } from './support/use-boxes.js'

const { the, create } = useBoxes()

type Call = (name: string, input: object, abortSignal?: AbortSignal) => Promise<unknown>

/** Calls a tool as the AI SDK does: what a model gives is checked by the schema first. */
async function tooled(options?: ToolsOptions): Promise<{ box: Sandbox; call: Call }> {
  const box = await create()
  const tools = deltaboxTools(box, options) as Record<string, Tool<unknown, unknown>>
  const call: Call = async (name, input, abortSignal) => {
    const tool = tools[name]
    const checked = await asSchema(tool?.inputSchema).validate?.(input)
    if (!checked?.success) throw checked?.error ?? new Error(`there is no ${name}`)
    const own = { toolCallId: name, messages: [], ...(abortSignal && { abortSignal }) }
    return await tool?.execute?.(checked.value, own)
  }
  return { box, call }
}

describe('the tools', () => {
  it('run commands, read, write and list files', async () => {
    const { call } = await tooled()
    expect(await call('writeFile', { path: '/root/a/b', content: 'hi' })).toEqual({ written: '/root/a/b' })
    expect(await call('readFile', { path: '/root/a/b' })).toEqual({ content: 'hi' })
    expect(await call('listFiles', { path: '/root/a' })).toEqual({
      entries: [{ name: 'b', type: 'file', size: 2 }],
    })
    const ran = await call('runCommand', { command: 'cat a/b; echo no >&2; exit 3' })
    expect(ran).toEqual({ exitCode: 3, stdout: 'hi', stderr: 'no\n' })
  })

  it('keep states, go back to them, and tell what has changed', async () => {
    const { call, box } = await tooled()
    await call('writeFile', { path: '/root/a', content: 'old' })
    await box.commands.startDetached('exec sleep 1000')
    const kept = (await call('checkpoint', { label: 'a is old' })) as { checkpoint: string }
    expect(kept).toEqual({ checkpoint: expect.stringMatching(/^cp-/), processes: expect.any(Number) })
    await call('writeFile', { path: '/root/a', content: 'new' })
    await call('runCommand', { command: 'pkill sleep' })
    expect(await call('diff', { from: kept.checkpoint })).toEqual({ changes: ['M /root/a'] })
    expect(await call('diff', {})).toEqual({ changes: expect.arrayContaining(['A /root/a']) })
    expect(await call('rollback', { checkpoint: kept.checkpoint })).toEqual(kept)
    expect(await call('readFile', { path: '/root/a' })).toEqual({ content: 'old' })
    expect(await call('runCommand', { command: 'pgrep -c sleep' })).toMatchObject({ stdout: '1\n' })
  })

  it('are done in the order in which they are called', async () => {
    const { call, box } = await tooled()
    const [, kept] = await Promise.all([
      call('runCommand', { command: 'sleep 0.3; echo one > /root/a' }),
      call('checkpoint', { label: 'one' }),
      call('runCommand', { command: 'cat /root/missing' }),
      call('readFile', { path: '/root/missing' }).catch(() => undefined),
      call('writeFile', { path: '/root/a', content: 'two' }),
    ])
    expect(await box.files.read('/root/a')).toBe('two')
    await box.rollback((kept as { checkpoint: string }).checkpoint)
    expect(await box.files.read('/root/a')).toBe('one\n')
  })

  it('show a model what it can take', async () => {
    const { call } = await tooled({ maxChars: 10 })
    const { stdout } = (await call('runCommand', { command: 'seq 100' })) as { stdout: string }
    expect(stdout).toBe('1\n2\n3\n… 282 characters are left out here …\n\n100\n')
  })

  it('end a command for its time, or with the agent', async () => {
    const { call } = await tooled({ timeoutMs: 2000 })
    expect(await call('runCommand', { command: 'echo begun; sleep 100' })).toEqual({
      ...{ exitCode: null, stdout: 'begun\n', stderr: '', timedOut: true },
    })
    expect(await call('runCommand', { command: 'sleep 2.2; echo done', timeoutMs: 20_000 })).toMatchObject({
      stdout: 'done\n',
    })
    const stop = AbortSignal.timeout(100)
    await expect(
      call('runCommand', { command: 'sleep 100', timeoutMs: 100_000 }, stop),
    ).rejects.toMatchObject({ code: 'aborted' })
    expect(await call('runCommand', { command: 'pgrep sleep' })).toMatchObject({ exitCode: 1 })
  })

  it('refuse what makes no sense, and tell what fails', async () => {
    const { call } = await tooled()
    await expect(call('runCommand', { command: '' })).rejects.toThrow('Too small')
    await expect(call('runCommand', { command: 'true', timeoutMs: -1 })).rejects.toThrow('Too small')
    await expect(call('readFile', { path: '/nothing' })).rejects.toMatchObject({ code: 'file_not_found' })
    await expect(call('rollback', { checkpoint: 'cp-nothing' })).rejects.toMatchObject({
      code: 'checkpoint_not_found',
    })
  })
})

describe('examples/ai-sdk.ts', () => {
  it('breaks a service, goes back, and does it right', async () => {
    expect(await runExample('ai-sdk.ts', the.daemon.url)).toEqual([
      'before: Hello, visitor 1',
      expect.stringMatching(/^checkpoint: {"checkpoint":"cp-…","processes":\d+}$/),
      'runCommand: {"exitCode":0,"stdout":"","stderr":""}',
      expect.stringMatching(/^runCommand: {"exitCode":7,"stdout":"","stderr":"curl: \(7\) Failed to connect/),
      expect.stringMatching(/^rollback: {"checkpoint":"cp-…","processes":\d+}$/),
      'writeFile: {"written":"/srv/config.json"}',
      'runCommand: {"exitCode":0,"stdout":"Good day, visitor 2","stderr":""}',
      'diff: {"changes":["M /srv/config.json"]}',
      'agent: The service greets with "Good day", and its count goes on.',
      'after: Good day, visitor 3',
      'tokens: 120',
    ])
    expect(await Sandbox.list({ client: the.client })).toEqual([])
  })
})
