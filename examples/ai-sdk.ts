/**
 * An agent of Vercel's AI SDK that breaks a service, goes back, and does it right. The model is a scripted one, so that this runs
 * without a key: replace `model` by one of a provider, and the rest stays.
 *
 *     npx tsx examples/ai-sdk.ts
 */
import { deltaboxTools } from '@deltabox/search/ai-sdk'
import { generateText, stepCountIs } from 'ai'
import { MockLanguageModelV3 } from 'ai/test'
import { Sandbox } from 'deltabox'

/** Counts its visitors, in memory only. */
const SERVICE = `
import http.server, json
visitors = 0
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global visitors; visitors += 1
        greeting = json.load(open('/srv/config.json'))['greeting']
        self.send_response(200); self.end_headers()
        self.wfile.write(f'{greeting}, visitor {visitors}'.encode())
    def log_message(self, *_): pass
http.server.HTTPServer(('127.0.0.1', 8000), Handler).serve_forever()
`
const VISIT = 'curl -sS --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:8000'

/** What the model says next, by how often it was asked, and what its tools gave. */
const script: ((results: string[]) => { tool: string; input: object } | string)[] = [
  () => ({ tool: 'checkpoint', input: { label: 'before the new greeting' } }),
  () => ({
    tool: 'runCommand',
    input: { command: 'echo greeting=Good day > /srv/config.json; kill $(pgrep -x python3)' },
  }),
  () => ({ tool: 'runCommand', input: { command: 'curl -sS http://127.0.0.1:8000' } }),
  ([kept = '']) => ({ tool: 'rollback', input: { checkpoint: JSON.parse(kept).checkpoint } }),
  () => ({ tool: 'writeFile', input: { path: '/srv/config.json', content: '{"greeting": "Good day"}' } }),
  () => ({ tool: 'runCommand', input: { command: VISIT } }),
  ([kept = '']) => ({ tool: 'diff', input: { from: JSON.parse(kept).checkpoint } }),
  () => 'The service greets with "Good day", and its count goes on.',
]

const usage = {
  inputTokens: { total: 10, noCache: 10, cacheRead: 0, cacheWrite: 0 },
  outputTokens: { total: 5, text: 5, reasoning: 0 },
}

const model = new MockLanguageModelV3({
  doGenerate: async ({ prompt }) => {
    const results = prompt.flatMap((message) => (message.role === 'tool' ? message.content : []))
    const texts = results.map((part) => (part.type === 'tool-result' ? JSON.stringify(shown(part)) : ''))
    const said = script[results.length]?.(texts) ?? 'I am done.'
    const finished = typeof said === 'string'
    return {
      content: [
        finished
          ? { type: 'text', text: said }
          : {
              type: 'tool-call',
              toolCallId: `call-${results.length}`,
              toolName: said.tool,
              input: JSON.stringify(said.input),
            },
      ],
      finishReason: { unified: finished ? 'stop' : 'tool-calls', raw: undefined },
      usage,
      warnings: [],
    }
  },
})

function shown({ output }: { output: { type: string; value?: unknown } }): unknown {
  return output.value
}

const box = await Sandbox.create()
try {
  await box.files.write('/srv/service.py', SERVICE)
  await box.files.write('/srv/config.json', '{"greeting": "Hello"}')
  await box.commands.startDetached('exec python3 /srv/service.py')
  console.log('before:', (await box.commands.run(VISIT)).stdout)

  const { text, totalUsage } = await generateText({
    model,
    tools: deltaboxTools(box),
    stopWhen: stepCountIs(20),
    prompt: 'Let the service greet with "Good day". It must go on counting.',
    onStepFinish: ({ toolResults }) => {
      for (const { toolName, output } of toolResults) console.log(`${toolName}:`, JSON.stringify(output))
    },
  })
  console.log('agent:', text)
  console.log('after:', (await box.commands.run(VISIT)).stdout)
  console.log('tokens:', totalUsage.totalTokens)
} finally {
  await box.kill({ checkpoints: true })
}
