/** Tree search in real sandboxes. The problem is small and its policy is a fixed one; what is searched is real state. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import {
  beam,
  bestOf,
  depthFirst,
  mcts,
  type SearchOptions,
  type SearchResult,
  type Strategy,
  treeSearch,
} from '@deltabox/search'
import { Sandbox } from 'deltabox'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sh, useBoxes } from './support/use-boxes.js'

const { the, create } = useBoxes()
let directory: string
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'dbx-search-'))
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

type Options = SearchOptions<string, string>

/** A process that has a word in memory, and a file that has the same: letters are added to both. */
const WORKER = `
import os, socket
word = ''
server = socket.socket(socket.AF_UNIX); server.bind('/run/word'); server.listen()
while True:
    peer, _ = server.accept()
    letter = peer.recv(100).decode().strip()
    word += letter
    open('/root/word', 'w').write(word)
    peer.send(word.encode()); peer.close()
`
const ASK = `python3 -c "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect('/run/word'); s.send(sys.argv[1].encode()); print(s.recv(1000).decode())"`

async function problem(options: object = {}): Promise<Sandbox> {
  const box = await create(options)
  await box.files.write('/root/worker.py', WORKER)
  await box.commands.start('exec python3 /root/worker.py')
  await expect.poll(() => box.files.exists('/run/word')).toBe(true)
  return box
}

const TARGET = 'abba'

/** Any letter; the value is how much of the target is right, and evaluation leaves a mess. */
function options(root: Sandbox, strategy: Strategy, more: Partial<Options> = {}): Options {
  return {
    root,
    client: the.client,
    strategy,
    budget: { expansions: 20 },
    propose: async ({ index, random }) => 'abc'[(index + random.below(2)) % 3] ?? 'a',
    act: async (box, letter) => (await sh(box, `${ASK} ${letter}`)).trim(),
    evaluate: async (box, { observation }) => {
      expect(await sh(box, 'cat /root/word; rm -rf /root/*; pkill python3; ls -A /root')).toMatch(observation)
      let right = 0
      while (right < TARGET.length && observation[right] === TARGET[right]) right++
      return { value: right / Math.max(TARGET.length, observation.length), done: observation === TARGET }
    },
    ...more,
  }
}

/** Every node that has a checkpoint is exactly what its path says. */
async function verify({ tree, fork }: SearchResult<string, string>): Promise<number> {
  let verified = 0
  for (const node of tree.nodes) {
    if (node.checkpoint === null || node.dropped || node.parent === null) continue
    const word = tree
      .path(node)
      .map(({ action }) => action ?? '')
      .join('')
    const [kid] = await fork(node)
    if (!kid) throw new Error('one was wanted')
    expect(node.observation).toBe(word)
    expect(await sh(kid, 'cat /root/word')).toBe(word)
    expect((await sh(kid, `${ASK} x`)).trim()).toBe(`${word}x`)
    await kid.kill()
    verified++
  }
  return verified
}

function shapeOf({ tree }: SearchResult<string, string>): unknown {
  return tree.nodes.map(({ id, parent, action, observation, value, status, visits, total }) => {
    return { id, parent, action, observation, value, status, visits, total }
  })
}

const strategies: Strategy[] = [mcts(), beam(), bestOf({ attempts: 5 }), depthFirst({ least: 0.25 })]

describe.each(strategies.map((strategy) => [strategy.name, strategy] as const))('%s', (_name, strategy) => {
  it('finds what is to be found, and each node is the state it says', async () => {
    const root = await problem()
    const result = await treeSearch(options(root, strategy, { budget: { expansions: 40 }, keep: 'all' }))
    expect(result.report.failures).toEqual([])
    expect(await verify(result)).toBe(result.tree.nodes.length - 1)
    expect(await sh(root, 'ls -A /root')).not.toContain('word\n')
    expect((await Sandbox.list({ client: the.client })).map(({ id }) => id)).toEqual([root.id])
  })
})

describe('a search', () => {
  it('is the same with several at once, and is over sooner', async () => {
    const root = await problem()
    const slow = (more: Partial<Options>): Options => {
      const base = options(root, mcts(), { budget: { expansions: 12 }, ...more })
      return {
        ...base,
        propose: async (context) => {
          await delay(200)
          return await base.propose(context)
        },
      }
    }
    const one = await treeSearch(slow({}))
    const four = await treeSearch(slow({ concurrency: 4 }))
    expect(shapeOf(four)).toEqual(shapeOf(one))
    expect(four.report.wallMs).toBeLessThan(one.report.wallMs)
  })

  it('goes on when steps fail, and says which', async () => {
    const root = await problem({ disk: '30m' })
    const base = options(root, mcts({ branching: 6 }), { budget: { expansions: 9 } })
    const deeds = [
      async (): Promise<string> => {
        throw new Error('no idea')
      },
      async (): Promise<string> => await new Promise<string>(() => undefined),
      async (): Promise<string> => 'pkill python3; exit 3',
      async (): Promise<string> => 'b() { b | b & }; b; sleep 100',
      async (): Promise<string> => 'head -c 200000000 /dev/zero > /root/zeros; sleep 100',
    ]
    const result = await treeSearch<string, string>({
      ...base,
      limits: { proposeMs: 300, actMs: 8000 },
      propose: async (context) => await (deeds[context.id - 1]?.() ?? base.propose(context)),
      act: async (box, action, context) => {
        if (action.length === 1) return await base.act(box, action, context)
        const { exitCode } = await box.commands.run(action, { signal: context.signal })
        throw new Error(`it ended with ${exitCode}`)
      },
    })
    expect(result.report.failures.map(({ id, error }) => [id, error.slice(0, 20)])).toEqual([
      [1, 'no idea'],
      [2, 'propose took longer '],
      [3, 'it ended with 3'],
      [4, 'act took longer than'],
      [5, 'it ended with null'],
    ])
    expect(await verify(result)).toBeGreaterThan(0)
    expect(result.tree.nodes).toHaveLength(10)
  })

  it('removes the checkpoints of what will not be selected', async () => {
    const root = await problem()
    const result = await treeSearch(
      options(root, beam({ beam: 1, branching: 3, maxDepth: 3 }), { keep: 'best' }),
    )
    const left = result.tree.nodes.filter((node) => !node.dropped && node.checkpoint !== null)
    expect(left).toEqual([result.tree.root, result.best])
    for (const { checkpoint, dropped } of result.tree.nodes) {
      const there = await Sandbox.getCheckpoint(checkpoint ?? '', { client: the.client }).then(
        () => true,
        () => false,
      )
      expect(there).toBe(!dropped)
    }
    expect(await verify(result)).toBe(1)
  })

  it('takes all its checkpoints away when asked to, and what was forked stays', async () => {
    const root = await problem()
    const result = await treeSearch(options(root, mcts(), { keep: 'all', budget: { expansions: 6 } }))
    const [kid] = await result.fork(result.tree.node(3))
    await result.remove()
    const tree = JSON.stringify(await Sandbox.tree({ client: the.client }))
    for (const { checkpoint } of result.tree.nodes) expect(tree).not.toContain(checkpoint)
    expect(await sh(kid as Sandbox, 'cat /root/word')).toBe(result.tree.node(3).observation)
    await kid?.kill()
  })

  it('leaves nothing when it cannot begin', async () => {
    const root = await problem()
    const file = path.join(directory, 'no', 'such', 'directory')
    await expect(treeSearch(options(root, mcts(), { file }))).rejects.toThrow('ENOENT')
    expect(await root.checkpoints()).toEqual([])
    expect((await Sandbox.list({ client: the.client })).map(({ id }) => id)).toEqual([root.id])
  })

  it('goes on where it was stopped, and comes to the same', async () => {
    const root = await problem()
    const file = path.join(directory, 'stopped.jsonl')
    const whole = await treeSearch(options(root, mcts(), { keep: 'all' }))
    for (let run = 0; run < 5; run++) {
      const stop = new AbortController()
      const stopped = await treeSearch(
        options(root, mcts(), {
          keep: 'all',
          file,
          concurrency: 2,
          signal: stop.signal,
          onEvent: (event) => {
            if (event.type === 'phase' && event.phase === 'evaluate' && event.id % 4 === run % 4) stop.abort()
          },
        }),
      )
      expect(stopped.reason).toMatch(/aborted|budget/)
    }
    const resumed = await treeSearch(options(root, mcts(), { keep: 'all', file }))
    expect(shapeOf(resumed)).toEqual(shapeOf(whole))
    expect(resumed.tree.nodes).toHaveLength(21)
    expect(await verify(resumed)).toBe(20)
    await expect(treeSearch(options(root, beam(), { file }))).rejects.toThrow('has a search with strategy')
  })
})
