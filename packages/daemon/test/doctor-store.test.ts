import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { StoreProblem, StoreReport } from '@deltabox/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { examineStore } from '../src/state/doctor/examine-store.js'
import { subjectOf } from '../src/state/doctor/subject.js'
import { Survey, type SurveyedRows } from '../src/state/doctor/survey.js'
import type { LayerRow } from '../src/state/layer-table.js'
import { recordOf } from '../src/state/layer-upkeep.js'
import { checkpointAt, FAMILY, type TemporaryStore, temporaryStore } from './support/temporary-store.js'

function layerAt(id: string, parent: string | null): LayerRow {
  const facts = { sandbox: null, target: null, bytes: null, files: null, createdAt: 1 }
  return { id, family: FAMILY, parent, state: 'frozen', ...facts }
}

const surveyOf = (rows: Partial<SurveyedRows>): Survey =>
  new Survey({ layers: [], checkpoints: [], images: [], needs: [], ...rows })

describe('a survey', () => {
  it('tells which checkpoints stand on a layer, on whichever side of a fork', () => {
    const survey = surveyOf({
      layers: [layerAt('l-a', null), layerAt('l-b', 'l-a'), layerAt('l-c', 'l-a')],
      checkpoints: [checkpointAt('cp-b', 'l-b'), checkpointAt('cp-c', 'l-c'), checkpointAt('cp-0', null)],
    })
    expect(survey.standingOn('l-a')).toEqual(['cp-b', 'cp-c'])
    expect(survey.standingOn('l-c')).toEqual(['cp-c'])
    expect(survey.circles()).toEqual([])
  })

  it('comes to an end where layers stand on themselves, and tells each circle once', () => {
    const survey = surveyOf({
      layers: [layerAt('l-a', 'l-b'), layerAt('l-b', 'l-a'), layerAt('l-c', 'l-b'), layerAt('l-d', 'l-d')],
      checkpoints: [checkpointAt('cp-c', 'l-c')],
    })
    expect(survey.circles()).toEqual([['l-a', 'l-b'], ['l-d']])
    expect(survey.standingOn('l-a')).toEqual(['cp-c'])
  })

  it('tells who has pages in the file of an image, by way of others too', () => {
    const survey = surveyOf({
      checkpoints: [
        { ...checkpointAt('cp-a', null), image: 'cp-a' },
        { ...checkpointAt('cp-c', null), image: 'cp-c' },
      ],
      needs: [
        { image: 'cp-b', needs: 'cp-a' },
        { image: 'cp-c', needs: 'cp-b' },
      ],
    })
    expect(survey.dependents('cp-a')).toEqual(['cp-a', 'cp-b', 'cp-c'])
    expect(survey.havingImage('cp-a')).toEqual(['cp-a', 'cp-c'])
    expect(survey.havingImage('cp-b')).toEqual(['cp-c'])
  })
})

describe('the examination of a store', () => {
  let the: TemporaryStore
  beforeEach(async () => {
    the = await temporaryStore()
  })
  afterEach(() => the.close())

  const examine = (repair = false): Promise<StoreReport> =>
    examineStore(
      subjectOf({ config: { enginePath: '/bin/false' }, paths: the.paths, store: the.store }, undefined),
      { repair },
    )
  const told = ({ problems }: StoreReport): Pick<StoreProblem, 'kind' | 'object' | 'checkpoints'>[] =>
    problems.map(({ kind, object, checkpoints }) => ({ kind, object, checkpoints }))

  /** With its directory and its record. */
  async function freeze(parent: string | null): Promise<string> {
    const { id } = the.layers.newHead({ family: FAMILY, sandbox: 'sb-a', parent, target: null })
    the.store.layers.freeze(id, undefined)
    mkdirSync(path.join(the.layers.directory({ family: FAMILY, id }), 'fs0', 'upper'), { recursive: true })
    await the.disk.record(recordOf(the.store.layers.get(id) as LayerRow))
    return id
  }

  function durable(id: string, layer: string): void {
    the.store.checkpoints.insert({ ...checkpointAt(id, layer), durable: true })
  }

  it('finds nothing where all is there', async () => {
    durable('cp-a', await freeze(await freeze(null)))
    expect(await examine()).toMatchObject({ ok: true, problems: [] })
  })

  it('names a parent that is not known, with what stands on it', async () => {
    const layer = await freeze('l-none')
    durable('cp-a', await freeze(layer))
    durable('cp-b', await freeze(null))
    expect(told(await examine(true))).toEqual([
      { kind: 'layer_parent_missing', object: layer, checkpoints: ['cp-a'] },
    ])
  })

  it('lets a record differ that is yet to be written, and writes one that is wrong', async () => {
    const [before, now] = [await freeze(null), await freeze(null)]
    const layer = await freeze(before)
    durable('cp-a', layer)
    the.store.layers.moveParents(before, now)
    const { ok, checks } = await examine()
    expect(ok).toBe(true)
    expect(checks[0]?.detail).toBe('3 frozen layers; the records of 1 are yet to be written')
    the.store.layers.setUpToDate(layer)
    const problem = { kind: 'layer_record_wrong', object: layer, checkpoints: ['cp-a'] }
    expect(told(await examine())).toEqual([problem])
    expect(await examine(true)).toMatchObject({ ok: true, problems: [{ ...problem, repaired: true }] })
    expect(told(await examine())).toEqual([])
    expect(await the.disk.readRecord({ family: FAMILY, id: layer })).toMatchObject({ parent: now })
  })

  it('has no problem with a record that the next daemon writes', async () => {
    const layer = await freeze(null)
    rmSync(path.join(the.layers.directory({ family: FAMILY, id: layer }), 'layer.json'))
    the.store.checkpoints.insert(checkpointAt('cp-a', layer))
    const { ok, checks } = await examine()
    expect(ok).toBe(true)
    expect(checks[0]?.detail).toBe('1 frozen layers; the records of 1 are yet to be written')
  })

  it('names what checkpoints name and nobody knows', async () => {
    the.store.checkpoints.insert({ ...checkpointAt('cp-a', 'l-none', 'cp-none'), image: 'cp-x' })
    expect(told(await examine(true))).toEqual([
      { kind: 'checkpoint_parent_missing', object: 'cp-a', checkpoints: [] },
      { kind: 'checkpoint_layer_missing', object: 'cp-a', checkpoints: ['cp-a'] },
      { kind: 'checkpoint_image_missing', object: 'cp-a', checkpoints: ['cp-a'] },
    ])
  })

  it('names sandboxes without a head', async () => {
    const standing = { checkpoint: null, parent: null, forkedFrom: null, createdAt: 1 }
    the.store.sandboxes.insert({ id: 'sb-a', name: null, family: FAMILY, head: 'l-none', ...standing })
    expect(told(await examine(true))).toEqual([
      { kind: 'sandbox_head_missing', object: 'sb-a', checkpoints: [] },
    ])
  })

  it('leaves a family with checkpoints alone whose directory is there', async () => {
    the.store.checkpoints.insert({ ...checkpointAt('cp-a', null), family: 'gone' })
    const directory = path.join(the.paths.families, 'gone')
    mkdirSync(directory)
    const problem = { kind: 'family_gone', object: 'gone', checkpoints: ['cp-a'] }
    expect(told(await examine(true))).toEqual([problem])
    expect(await examine(true)).toMatchObject({ ok: false, problems: [{ repaired: false }] })
    rmSync(directory, { recursive: true })
    expect(await examine(true)).toMatchObject({ ok: true, problems: [{ ...problem, repaired: true }] })
    expect(the.store.checkpoints.get('cp-a')).toBeUndefined()
  })

  it('removes images that nobody needs, and what nothing knows of', async () => {
    the.store.images.insert({ id: 'cp-old', family: FAMILY, toDisk: true, memoryBytes: 0 })
    the.store.images.setInMemory('cp-old', false)
    const images = path.join(the.paths.families, FAMILY, 'images')
    mkdirSync(images)
    for (const name of ['cp-old', 'cp-old.json', 'cp-new.part']) writeFileSync(path.join(images, name), '')
    expect(told(await examine(true))).toEqual([
      { kind: 'image_unneeded', object: 'cp-old', checkpoints: [] },
      { kind: 'stray', object: `families/${FAMILY}/images/cp-new.part`, checkpoints: [] },
    ])
    expect(readdirSync(images)).toEqual([])
    expect(await examine()).toMatchObject({ ok: true, problems: [] })
  })
})
