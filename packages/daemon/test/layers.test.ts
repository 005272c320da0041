import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { NewLayer } from '../src/state/layer-table.js'
import { checkpointAt, FAMILY, type TemporaryStore, temporaryStore } from './support/temporary-store.js'

let the: TemporaryStore

beforeEach(async () => {
  the = await temporaryStore()
})
afterEach(() => the.close())

/** Its directory is there, as the engine would make it. */
function newHead(parent: string | null, sandbox = 'sb-a'): NewLayer {
  const head = the.layers.newHead({ family: FAMILY, sandbox, parent, target: null })
  mkdirSync(the.layers.directory(head))
  return head
}

/** Newest first. */
function frozenChain(length: number): NewLayer[] {
  const chain: NewLayer[] = []
  for (let i = 0; i < length; i++) {
    const layer = newHead(chain[0]?.id ?? null)
    the.store.layers.setState(layer.id, 'frozen')
    chain.unshift(layer)
  }
  return chain
}

function insertSandbox(id: string, head: string): void {
  const standing = { head, checkpoint: null, parent: null, forkedFrom: null }
  the.store.sandboxes.insert({ id, name: null, family: FAMILY, ...standing, createdAt: 1 })
}

const ids = (layers: readonly { id: string }[]): string[] => layers.map(({ id }) => id)
const known = (): string[] => ids(the.store.layers.ofFamily(FAMILY)).sort()
const onDisk = async (): Promise<string[]> => (await the.disk.list(FAMILY)).sort()

async function removed(): Promise<void> {
  while (the.store.layers.inState('doomed').length > 0) await new Promise(setImmediate)
}

describe('a layer to put others together in', () => {
  it('is an empty directory of root’s and a row', () => {
    const merging = the.layers.newMerging({ family: FAMILY, parent: null })
    const { mode } = statSync(the.layers.directory(merging))
    expect(mode & 0o777).toBe(0o700)
    expect(the.store.layers.get(merging.id)).toMatchObject({ state: 'merging', sandbox: null, parent: null })
  })

  it('leaves no row where the directory cannot be made', async () => {
    expect(() => the.layers.newMerging({ family: 'nobody', parent: null })).toThrow('ENOENT')
    expect(known()).toEqual([])
  })
})

describe('a layer that is dropped soon', () => {
  it('goes when whoever asks was answered', async () => {
    const { id } = newHead(null)
    the.layers.dropSoon(id)
    expect(the.store.layers.get(id)).toMatchObject({ state: 'head' })
    the.afterwards.finish()
    expect(the.store.layers.get(id)?.state).toBe('doomed')
    await removed()
    expect(await onDisk()).toEqual([])
  })

  it('goes at the latest when the daemon stops', async () => {
    const { id } = newHead(null)
    the.layers.dropSoon(id)
    the.afterwards.stop()
    await the.layers.stop()
    expect(the.store.layers.get(id)?.state).toBe('doomed')
  })
})

describe('a new head', () => {
  it('is a row; its directory is the engine’s to make', async () => {
    const head = the.layers.newHead({ family: FAMILY, sandbox: 'sb-a', parent: null, target: null })
    expect(the.store.layers.get(head.id)).toMatchObject({ state: 'head', sandbox: 'sb-a', parent: null })
    expect(await onDisk()).toEqual([])
    the.layers.abandon(head)
    expect(known()).toEqual([])
  })

  it('that was not used is gone at once, or in the background when something is in it', async () => {
    const empty = newHead(null)
    the.layers.abandon(empty)
    expect([known(), await onDisk()]).toEqual([[], []])
    const used = newHead(null)
    writeFileSync(path.join(the.layers.directory(used), 'file'), '')
    the.layers.abandon(used)
    await removed()
    expect([known(), await onDisk()]).toEqual([[], []])
  })
})

describe('a chain', () => {
  it('is what lies below a layer, newest first', () => {
    const chain = frozenChain(3)
    expect(ids(the.store.layers.chain(chain[0]?.id ?? ''))).toEqual(ids(chain))
    expect(the.layers.chainDirectories({ family: FAMILY, top: chain[1]?.id ?? '' })).toEqual(
      chain.slice(1).map((layer) => the.layers.directory(layer)),
    )
    expect(the.store.layers.depth(chain[0]?.id ?? '')).toBe(3)
    expect([the.store.layers.chain(null), the.store.layers.depth(null)]).toEqual([[], 0])
  })

  it('knows the bytes of those that were measured', () => {
    const [top, middle] = frozenChain(3)
    the.store.layers.setSize(top?.id ?? '', 100, 1)
    the.store.layers.setSize(middle?.id ?? '', 20, 1)
    expect(the.store.layers.chainBytes(top?.id ?? '')).toBe(120)
  })
})

describe('removing', () => {
  it('takes a head and what only it stood on', async () => {
    const chain = frozenChain(3)
    const head = newHead(chain[0]?.id ?? null)
    the.layers.drop(head.id)
    await removed()
    expect([known(), await onDisk()]).toEqual([[], []])
  })

  it('stops at what a checkpoint, another layer or a mount needs', async () => {
    const [top, middle, bottom] = frozenChain(3) as [NewLayer, NewLayer, NewLayer]
    const [head, other, third] = [newHead(top.id), newHead(middle.id), newHead(null)]
    the.store.checkpoints.insert(checkpointAt('cp-a', bottom.id))
    the.store.layers.hold(third.id, top.id)
    the.layers.drop(head.id)
    await removed()
    expect(known()).toEqual([top.id, middle.id, bottom.id, other.id, third.id].sort())
    the.store.transaction(() => the.layers.letGo(third.id))
    await removed()
    expect(known()).toEqual([middle.id, bottom.id, other.id, third.id].sort())
    the.layers.drop(other.id)
    await removed()
    expect(known()).toEqual([bottom.id, third.id].sort())
    the.store.checkpoints.remove('cp-a')
    the.layers.release(bottom.id)
    await removed()
    expect(await onDisk()).toEqual([third.id])
  })

  it('takes hundreds at once', async () => {
    const chain = frozenChain(300)
    the.layers.drop(newHead(chain[0]?.id ?? null).id)
    await removed()
    expect(await onDisk()).toEqual([])
  })
})

describe('the clean-up at the start', () => {
  it('keeps what sandboxes and checkpoints need, and nothing else', async () => {
    const [top, middle] = frozenChain(2) as [NewLayer, NewLayer]
    const head = newHead(top.id)
    insertSandbox('sb-a', head.id)
    the.store.layers.hold(head.id, middle.id)
    const intended = newHead(head.id)
    const kept = frozenChain(2)
    the.store.checkpoints.insert(checkpointAt('cp-a', kept[0]?.id ?? ''))
    const unneeded = frozenChain(3)
    const merging = newHead(null)
    the.store.layers.setState(merging.id, 'merging')
    the.store.layers.hold(merging.id, unneeded[1]?.id ?? '')
    mkdirSync(path.join(the.paths.families, FAMILY, 'layers/l-stray'))
    await the.layers.cleanUp()
    await removed()
    const expected = ids([top, middle, head, ...kept]).sort()
    expect([known(), await onDisk()]).toEqual([expected, expected])
    expect(known()).not.toContain(intended.id)
    expect(the.store.layers.holders()).toEqual([head.id])
  })
})

describe('the record of a layer', () => {
  it('says what the directory is', async () => {
    const layer = newHead(null)
    const record = { id: layer.id, family: FAMILY, parent: null, createdAt: '2026-01-01', bytes: 12 }
    await the.disk.record(record)
    const file = path.join(the.layers.directory(layer), 'layer.json')
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual({ format: 1, ...record })
    expect(existsSync(`${file}.new`)).toBe(false)
  })
})
