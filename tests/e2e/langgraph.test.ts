/** A graph's checkpointer that keeps the machine too: each checkpoint of the graph has the machine that belongs to it. */

import { setTimeout as delay } from 'node:timers/promises'
import { DeltaBoxSaver } from '@deltabox/search/langgraph'
import {
  Annotation,
  type BaseCheckpointSaver,
  Command,
  interrupt,
  type LangGraphRunnableConfig,
  MemorySaver,
  START,
  StateGraph,
  type StateSnapshot,
} from '@langchain/langgraph'
import { Sandbox } from 'deltabox'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runExample } from './support/example.js'
import { sh } from './support/use-boxes.js'
import { useDaemon } from './support/use-daemon.js'

const the = useDaemon()

/** The words that were said are in the state; the same are in a file, and in the memory of a process. */
const State = Annotation.Root({
  words: Annotation<string[]>({ reducer: (all, more) => [...all, ...more], default: () => [] }),
  todo: Annotation<string[]>({ reducer: (_all, next) => next, default: () => [] }),
})

type Node = (
  state: typeof State.State,
  config: LangGraphRunnableConfig,
) => Promise<Partial<typeof State.State>>

const WORKER = `
import socket
words = ''
server = socket.socket(socket.AF_UNIX); server.bind('/run/words'); server.listen()
while True:
    peer, _ = server.accept()
    words += peer.recv(100).decode()
    peer.send(words.encode()); peer.close()
`
const SAY = `python3 -c "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect('/run/words'); s.send(sys.argv[1].encode()); print(s.recv(9999).decode())"`

let inner: MemorySaver
let saver: DeltaBoxSaver

async function create(): Promise<Sandbox> {
  const box = await Sandbox.create({ client: the.client })
  await box.files.write('/root/worker.py', WORKER)
  await box.commands.startDetached('exec python3 /root/worker.py')
  await expect.poll(() => box.files.exists('/run/words')).toBe(true)
  return box
}

function saverOver(saver: BaseCheckpointSaver): DeltaBoxSaver {
  return new DeltaBoxSaver({ create, saver, client: the.client })
}

beforeEach(() => {
  inner = new MemorySaver()
  saver = saverOver(inner)
})
afterEach(async () => {
  const threads = new Set<string>()
  for await (const { config } of saver.list({})) threads.add(config.configurable?.thread_id)
  for (const thread of threads) await saver.deleteThread(thread)
  expect(await Sandbox.list({ client: the.client })).toEqual([])
  expect((await the.daemon.get('/v1/tree')).json.roots).toEqual([])
})

/** Says a word to both, which must have said what the state says. */
async function say(config: LangGraphRunnableConfig, word: string): Promise<void> {
  const box = await saver.sandbox(config)
  const told = (await sh(box, `${SAY} ${word}; printf ${word} >> /root/words; cat /root/words`)).split('\n')
  expect(told[0]).toBe(told[1])
}

async function said(box: Sandbox): Promise<string> {
  const file = await sh(box, 'cat /root/words 2>/dev/null || true')
  expect((await sh(box, `${SAY} .`)).trim()).toBe(`${file}.`)
  return file
}

/** Does what is to do, one word in a step. */
const speak: Node = async ({ words, todo }, config) => {
  const [word = '', ...rest] = todo
  const box = await saver.sandbox(config)
  expect(await sh(box, 'cat /root/words 2>/dev/null || true')).toBe(words.join(''))
  await say(config, word)
  return { words: [word], todo: rest }
}

const speaker = () =>
  new StateGraph(State)
    .addNode('speak', speak)
    .addConditionalEdges(START, ({ todo }) => (todo.length > 0 ? 'speak' : '__end__'))
    .addConditionalEdges('speak', ({ todo }) => (todo.length > 0 ? 'speak' : '__end__'))
    .compile({ checkpointer: saver })

const thread = (id = 't'): { configurable: { thread_id: string } } => ({ configurable: { thread_id: id } })

/** Latest first. */
async function historyOf(
  graph: Pick<ReturnType<typeof speaker>, 'getStateHistory'>,
  id = 't',
): Promise<StateSnapshot[]> {
  const history: StateSnapshot[] = []
  for await (const state of graph.getStateHistory(thread(id))) history.push(state)
  return history
}

/** Every checkpoint of the graph: a fork of what lies behind it has said what its state says. */
async function verify(graph: ReturnType<typeof speaker>, id = 't'): Promise<number> {
  let verified = 0
  for await (const { values, config } of graph.getStateHistory(thread(id))) {
    const [fork] = (await (await saver.checkpointOf(config))?.fork()) ?? []
    if (!fork) throw new Error('there is no state')
    expect(await said(fork)).toBe((values.words ?? []).join(''))
    await fork.kill({ checkpoints: true })
    verified++
  }
  return verified
}

class SlowSaver extends MemorySaver {
  override async put(...given: Parameters<MemorySaver['put']>): ReturnType<MemorySaver['put']> {
    await delay(150)
    return await super.put(...given)
  }
}

describe('each checkpoint of a graph', () => {
  it.each(['async', 'sync'] as const)('has its machine, with durability %s', async (durability) => {
    saver = saverOver(new SlowSaver())
    const graph = speaker()
    await graph.invoke({ todo: ['a', 'b', 'c'] }, { ...thread(), durability })
    expect(await verify(graph)).toBe(5)
  })

  it('has it in each of several threads', async () => {
    const graph = speaker()
    await Promise.all([
      graph.invoke({ todo: ['a', 'b'] }, thread('one')),
      graph.invoke({ todo: ['c'] }, thread('two')),
    ])
    await graph.invoke({ todo: ['d'] }, thread('one'))
    expect(await verify(graph, 'one')).toBe(7)
    expect(await verify(graph, 'two')).toBe(3)
    expect(await Sandbox.list({ client: the.client })).toHaveLength(2)
  })

  it('cannot have it when none are stored on the way', async () => {
    const graph = speaker()
    await expect(graph.invoke({ todo: ['a'] }, { ...thread(), durability: 'exit' })).rejects.toThrow(
      "durability must be 'async' or 'sync'",
    )
  })
})

describe('going back in a graph', () => {
  it('takes the machine back, and only when it goes on', async () => {
    const graph = speaker()
    await graph.invoke({ todo: ['a', 'b', 'c'] }, thread())
    const history = await historyOf(graph)
    const afterA = history.find(({ values }) => values.words?.join('') === 'a')
    if (!afterA) throw new Error('there is such a state')
    await graph.getState(afterA.config)
    const box = await saver.sandbox(thread())
    expect(await sh(box, 'cat /root/words')).toBe('abc')

    expect((await graph.invoke(null, afterA.config)).words).toEqual(['a', 'b', 'c'])
    const fork = await graph.updateState(afterA.config, { todo: ['x'] })
    expect(await sh(box, 'cat /root/words')).toBe('abc')
    expect((await graph.invoke(null, fork)).words).toEqual(['a', 'x'])
    expect(await sh(box, 'cat /root/words')).toBe('ax')
    const copy = await graph.updateState(afterA.config, null, '__copy__')
    expect((await saver.checkpointOf(copy))?.id).toBe((await saver.checkpointOf(afterA.config))?.id)
    expect(await sh(box, 'cat /root/words')).toBe('ax')
    const fromB = await graph.invoke({ todo: ['y'] }, history[1]?.config)
    expect(fromB.words).toEqual(['a', 'b', 'y'])
    expect(await verify(graph)).toBeGreaterThan(10)
  })

  it('comes to the same in any order', async () => {
    const graph = speaker()
    let seed = 7
    const below = (limit: number): number => {
      seed = (seed * 48271) % 2147483647
      return seed % limit
    }
    await graph.invoke({ todo: ['a'] }, thread())
    for (let round = 0; round < 15; round++) {
      const history = await historyOf(graph)
      const { config } = history[below(history.length)] ?? {}
      const todo = ['b', 'c', 'd'].slice(below(3))
      const kind = below(4)
      if (kind === 0) await graph.invoke({ todo }, config)
      else if (kind === 1) await graph.invoke(null, config as object)
      else if (kind === 2) await graph.invoke(null, await graph.updateState(config as object, { todo }))
      else await graph.invoke({ todo }, thread())
      if (below(4) === 0) graph.checkpointer = saver = saverOver(inner)
    }
    expect(await verify(graph)).toBeGreaterThan(20)
  })

  it('keeps what was changed between two runs', async () => {
    const graph = speaker()
    await graph.invoke({ todo: ['a'] }, thread())
    await sh(await saver.sandbox(thread()), 'echo mine > /root/other')
    await graph.invoke({ todo: ['b'] }, thread())
    const [last] = await historyOf(graph)
    await graph.invoke({ todo: ['c'] }, last?.config)
    expect(await sh(await saver.sandbox(thread()), 'cat /root/other /root/words')).toBe('mine\nabc')
  })
})

describe('a task that is run again', () => {
  /** Says half of what it has to say, and fails the first time. */
  const failing = (): Node => {
    let attempts = 0
    return async (_state, config) => {
      await say(config, 'half')
      if (++attempts === 1) throw new Error('out of breath')
      await say(config, 'whole')
      return { words: ['half', 'whole'] }
    }
  }

  it('does not find what it has begun, in a run that goes on', async () => {
    const graph = new StateGraph(State)
      .addNode('fail', failing())
      .addEdge(START, 'fail')
      .compile({ checkpointer: saver })
    await expect(graph.invoke({ words: [] }, thread())).rejects.toThrow('out of breath')
    expect((await graph.invoke(null, thread())).words).toEqual(['half', 'whole'])
    expect(await said(await saver.sandbox(thread()))).toBe('halfwhole')
  })

  it('nor in one that begins anew', async () => {
    const graph = new StateGraph(State)
      .addNode('fail', failing())
      .addEdge(START, 'fail')
      .compile({ checkpointer: saver })
    await expect(graph.invoke({ words: [] }, thread())).rejects.toThrow('out of breath')
    expect((await graph.invoke({ words: [] }, thread())).words).toEqual(['half', 'whole'])
    expect(await said(await saver.sandbox(thread()))).toBe('halfwhole')
  })

  it('finds what a task beside it has done, which is not run again', async () => {
    const order: string[] = []
    const graph = new StateGraph(State)
      .addNode('first', async (_state: typeof State.State, config: LangGraphRunnableConfig) => {
        await say(config, 'first')
        order.push('first')
        return { words: ['first'] }
      })
      .addNode('second', async (_state: typeof State.State, config: LangGraphRunnableConfig) => {
        await expect.poll(() => order.includes('first')).toBe(true)
        await say(config, 'partial')
        const answer: string = interrupt('what?')
        await say(config, answer)
        return { words: [answer] }
      })
      .addEdge(START, 'first')
      .addEdge(START, 'second')
      .compile({ checkpointer: saver })
    for (const restart of [false, true]) {
      order.length = 0
      const config = thread(String(restart))
      await graph.invoke({ words: [] }, config)
      expect(await sh(await saver.sandbox(config), 'cat /root/words')).toBe('firstpartial')
      const resumed = restart ? saverOver(inner) : saver
      graph.checkpointer = resumed
      saver = resumed
      const done = await graph.invoke(new Command({ resume: 'second' }), config)
      expect(done.words).toEqual(['first', 'second'])
      expect(await said(await saver.sandbox(config))).toBe('firstpartialsecond')
      expect(order).toEqual(['first'])

      // The graph has gone on from there, so all of it is done again; it remembers the first answer.
      order.length = 0
      const interrupted = (await historyOf(graph, String(restart))).find(({ next }) => next.length === 2)
      const again = await graph.invoke(new Command({ resume: 'third' }), interrupted?.config)
      expect(again.words).toEqual(['first', 'second'])
      expect(await said(await saver.sandbox(config))).toBe('firstpartialsecond')
      expect(order).toEqual(['first'])
    }
  })

  it('finds what came before it in a graph within the graph', async () => {
    const nested = new StateGraph(State)
      .addNode('one', async (_state: typeof State.State, config: LangGraphRunnableConfig) => {
        await say(config, 'one')
        return { words: ['one'] }
      })
      .addNode('two', async (_state: typeof State.State, config: LangGraphRunnableConfig) => {
        await say(config, 'partial')
        const answer: string = interrupt('what?')
        return { words: [answer] }
      })
      .addEdge(START, 'one')
      .addEdge('one', 'two')
      .compile()
    const graph = new StateGraph(State)
      .addNode('before', async (_state: typeof State.State, config: LangGraphRunnableConfig) => {
        await say(config, 'before')
        return {}
      })
      .addNode('nested', nested)
      .addNode('after', async (_state: typeof State.State, config: LangGraphRunnableConfig) => {
        await say(config, 'after')
        return {}
      })
      .addEdge(START, 'before')
      .addEdge('before', 'nested')
      .addEdge('nested', 'after')
      .compile({ checkpointer: saver })
    await graph.invoke({ words: [] }, thread())
    expect(await sh(await saver.sandbox(thread()), 'cat /root/words')).toBe('beforeonepartial')
    await graph.invoke(new Command({ resume: 'two' }), thread())
    expect(await said(await saver.sandbox(thread()))).toBe('beforeonepartialafter')
    const history = await historyOf(graph)
    const atNested = history.find(({ next }) => next[0] === 'nested')
    await graph.invoke(null, atNested?.config as object)
    expect(await sh(await saver.sandbox(thread()), 'cat /root/words')).toBe('beforeonepartial')
  })
})

describe('a thread', () => {
  it('goes on in its sandbox with another saver, and in a fork when that is gone', async () => {
    let graph = speaker()
    await graph.invoke({ todo: ['a'] }, thread())
    const box = await saver.sandbox(thread())
    saver = saverOver(inner)
    graph = speaker()
    await graph.invoke({ todo: ['b'] }, thread())
    expect((await saver.sandbox(thread())).id).toBe(box.id)
    await box.kill()
    saver = saverOver(inner)
    graph = speaker()
    expect((await graph.invoke({ todo: ['c'] }, thread())).words).toEqual(['a', 'b', 'c'])
    expect((await saver.sandbox(thread())).id).not.toBe(box.id)
    expect(await verify(graph)).toBe(9)
  })

  it('goes with its sandbox and all its states, and can begin anew', async () => {
    const graph = speaker()
    await graph.invoke({ todo: ['a'] }, thread())
    await graph.invoke({ todo: ['b'] }, thread('other'))
    await saver.deleteThread('t')
    await saver.deleteThread('nobody')
    expect(await Sandbox.list({ client: the.client })).toHaveLength(1)
    expect(await historyOf(graph)).toEqual([])
    expect((await graph.invoke({ todo: ['c'] }, thread())).words).toEqual(['c'])
    expect(await verify(graph, 'other')).toBe(3)
  })

  it('stores nothing when the machine cannot be kept, and keeps nothing when it cannot be stored', async () => {
    let graph = new StateGraph(State)
      .addNode('secret', async (_state: typeof State.State, config: LangGraphRunnableConfig) => {
        const box = await saver.sandbox(config)
        const secret =
          'import ctypes, time; ctypes.CDLL(None).syscall(447, 0); print(1, flush=True); time.sleep(999)'
        const command = await box.commands.start(['python3', '-c', secret])
        for await (const _ of command.stdout) break
        return { words: ['secret'] }
      })
      .addEdge(START, 'secret')
      .compile({ checkpointer: saver })
    await expect(graph.invoke({ words: [] }, thread())).rejects.toMatchObject({ code: 'checkpoint_refused' })
    expect((await graph.getState(thread())).values.words).toEqual([])

    const full = new MemorySaver()
    saver = saverOver(full)
    const boxes = (await Sandbox.list({ client: the.client })).length
    full.put = async () => {
      throw new Error('the disk is full')
    }
    graph = speaker() as unknown as typeof graph
    await expect(graph.invoke({ words: [] }, thread('full'))).rejects.toThrow('the disk is full')
    const box = await saver.sandbox(thread('full'))
    expect(await box.checkpoints()).toEqual([])
    await saver.deleteThread('full')
    expect(await Sandbox.list({ client: the.client })).toHaveLength(boxes)
    saver = saverOver(inner)
  })
})

describe('examples/langgraph.ts', () => {
  it('goes back in time and another way', async () => {
    expect(await runExample('langgraph.ts', the.daemon.url)).toEqual([
      'the careless way: service.py nobody answers',
      'the careful way: data data.new service.py visitor 2',
      'the careless way again: service.py nobody answers',
      'and the careful one: data data.new service.py visitor 2',
    ])
  })
})
