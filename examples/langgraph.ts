/**
 * A graph of LangGraph that works in a sandbox, goes back in time, and goes another way: files and processes go with it.
 *
 *     npx tsx examples/langgraph.ts
 */
import { DeltaBoxSaver } from '@deltabox/search/langgraph'
import { Annotation, END, type LangGraphRunnableConfig, START, StateGraph } from '@langchain/langgraph'
import { Sandbox } from 'deltabox'

/** Numbers its visitors, in memory only. */
const SERVICE = `
import http.server
visitors = 0
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global visitors; visitors += 1
        self.send_response(200); self.end_headers()
        self.wfile.write(f'visitor {visitors}'.encode())
    def log_message(self, *_): pass
http.server.HTTPServer(('127.0.0.1', 8000), Handler).serve_forever()
`
const VISIT = 'curl -sS --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:8000'

const saver = new DeltaBoxSaver({ create: () => Sandbox.create() })

const State = Annotation.Root({
  way: Annotation<'careless' | 'careful'>,
  report: Annotation<string>,
})
type Update = Partial<typeof State.State>

async function serve(_state: typeof State.State, config: LangGraphRunnableConfig): Promise<Update> {
  const box = await saver.sandbox(config)
  await box.files.write('/srv/service.py', SERVICE)
  await box.files.write('/srv/data', 'precious')
  await box.commands.startDetached('exec python3 /srv/service.py')
  return { report: (await box.commands.run(VISIT)).stdout }
}

async function migrate({ way }: typeof State.State, config: LangGraphRunnableConfig): Promise<Update> {
  const box = await saver.sandbox(config)
  const careful = 'cp /srv/data /srv/data.new'
  await box.commands.run(way === 'careful' ? careful : 'rm /srv/data; kill $(pgrep -x python3)')
  return {}
}

async function check(_state: typeof State.State, config: LangGraphRunnableConfig): Promise<Update> {
  const box = await saver.sandbox(config)
  const { stdout } = await box.commands.run(`ls /srv; curl -sS http://127.0.0.1:8000 || echo nobody answers`)
  return { report: stdout.replaceAll('\n', ' ').trim() }
}

const graph = new StateGraph(State)
  .addNode('serve', serve)
  .addNode('migrate', migrate)
  .addNode('check', check)
  .addEdge(START, 'serve')
  .addEdge('serve', 'migrate')
  .addEdge('migrate', 'check')
  .addEdge('check', END)
  .compile({ checkpointer: saver })

const thread = { configurable: { thread_id: 'migration' } }
try {
  const first = await graph.invoke({ way: 'careless' }, thread)
  console.log('the careless way:', first.report)

  for await (const { next, config } of graph.getStateHistory(thread)) {
    if (next[0] !== 'migrate') continue
    const other = await graph.updateState(config, { way: 'careful' })
    const second = await graph.invoke(null, other)
    console.log('the careful way:', second.report)
    const again = await graph.invoke(null, config)
    console.log('the careless way again:', again.report)
    const now = await graph.invoke(null, other)
    console.log('and the careful one:', now.report)
    break
  }
} finally {
  await saver.deleteThread('migration')
}
