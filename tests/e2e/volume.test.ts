/** `deltabox volume create`: a data directory on an image of its own. */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, describe, expect, it } from 'vitest'

const deltabox = fileURLToPath(new URL('../../bin/deltabox', import.meta.url))
const top = mkdtempSync(join(tmpdir(), 'dbx-'))
const data = join(top, 'data')
const image = `${data}.img`
const env = { ...process.env, DELTABOX_DATA: data, DELTABOX_RUN: join(top, 'run') }

function run(...args: string[]): SpawnSyncReturns<string> {
  return spawnSync(deltabox, args, { env, encoding: 'utf8' })
}

function create(...args: string[]): unknown {
  const result = run('volume', 'create', '--json', ...args)
  return JSON.parse(result.stdout || result.stderr)
}

/** A daemon that was told to stop ends a moment later. */
async function unmount(): Promise<void> {
  await expect
    .poll(() => spawnSync('umount', [data], { encoding: 'utf8' }).stderr, { timeout: 10_000 })
    .toBe('')
}

function isMounted(): boolean {
  return readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${data} `)
}

function usedBytes(): number {
  const { blocks, bfree, bsize } = statfsSync(data)
  return (blocks - bfree) * bsize
}

/**
 * Loop devices of this test that stay until somebody removes them. The others end with their last use, which may be in the
 * mount namespace of a daemon that was started meanwhile.
 */
function loops(): string[] {
  return readdirSync('/sys/block')
    .map((name) => join('/sys/block', name, 'loop'))
    .filter((loop) => existsSync(join(loop, 'backing_file')))
    .filter((loop) => readFileSync(join(loop, 'backing_file'), 'utf8').startsWith(top))
    .filter((loop) => readFileSync(join(loop, 'autoclear'), 'utf8').trim() === '0')
}

afterEach(async () => {
  if (isMounted()) await unmount()
})
afterAll(() => rmSync(top, { recursive: true, force: true }))

describe('volume create', () => {
  it('makes a sparse image and mounts it at the data directory, where extents are shared', () => {
    expect(create('--size', '310m')).toEqual({
      path: data,
      image,
      sizeBytes: 310 * 1024 * 1024,
      created: true,
      mounted: true,
    })
    const { blocks, mode } = statSync(image)
    expect(blocks * 512).toBeLessThan(100 * 1024 * 1024)
    expect([mode & 0o777, statSync(data).mode & 0o777]).toEqual([0o600, 0o700])
    const { checks } = JSON.parse(run('doctor', '--json').stdout)
    expect(checks).toContainEqual(expect.objectContaining({ name: 'reflink', ok: true }))
  })

  it('changes nothing when called again, and mounts what is not mounted', async () => {
    create('--size', '310m')
    writeFileSync(join(data, 'kept'), 'kept')
    expect(create('--size', '310m')).toMatchObject({ created: false, mounted: false })
    await unmount()
    expect(create()).toMatchObject({ created: false, mounted: true })
    expect(readFileSync(join(data, 'kept'), 'utf8')).toBe('kept')
    rmSync(join(data, 'kept'))
    await unmount()
    expect(loops()).toEqual([])
  })

  it('that is not mounted keeps a daemon from starting below it', () => {
    expect(JSON.parse(run('ls', '--json').stderr).error).toMatchObject({
      code: 'data_dir_invalid',
      message: expect.stringContaining('volume create'),
    })
    expect(readdirSync(data)).toEqual([])
  })

  it('holds sandboxes, in which the first write to a checkpointed file copies nothing of it', () => {
    create()
    const sh = (script: string): string => run('exec', 'box', '--', 'sh', '-ec', script).stdout
    run('create', '--name', 'box')
    sh('head -c 60000000 /dev/urandom > /srv/large; sync /srv/large')
    const digest = sh('tail -c +2 /srv/large | sha256sum')
    const checkpoint = run('checkpoint', 'box').stdout.trim()
    expect(checkpoint).toMatch(/^cp-/)
    const before = usedBytes()
    sh('printf x | dd of=/srv/large conv=notrunc status=none; sync /srv/large')
    expect(usedBytes() - before).toBeLessThan(5_000_000)
    expect(sh('head -c 1 /srv/large; tail -c +2 /srv/large | sha256sum')).toBe(`x${digest}`)
    run('rollback', 'box', checkpoint)
    expect(sh('tail -c +2 /srv/large | sha256sum')).toBe(digest)
    expect(run('rm', '--checkpoints', 'box').status).toBe(0)
    expect(run('daemon', 'stop').status).toBe(0)
  })
})

describe('volume create refuses', () => {
  it.each([
    [['--size', '299m', join(top, 'small')], /300m/],
    [['--size', '900t', join(top, 'large')], /free in/],
    [[join(top, 'absent')], /takes --size/],
    [['--size', '311m'], /cannot change/],
    [['--size', 'much'], /size/],
  ])('%j', (args, message) => {
    expect(create(...args)).toMatchObject({
      error: { code: 'invalid_request', message: expect.stringMatching(message) },
    })
  })

  it('a directory with files in it, and leaves no image', () => {
    const used = join(top, 'used')
    mkdirSync(used)
    closeSync(openSync(join(used, 'file'), 'w'))
    expect(create('--size', '310m', used)).toMatchObject({
      error: { code: 'invalid_request', message: expect.stringContaining('not empty (file)') },
    })
    expect(readdirSync(top).filter((name) => name.startsWith('used'))).toEqual(['used'])
  })

  it('a directory at which something else is mounted', () => {
    const other = join(top, 'other')
    mkdirSync(other)
    expect(spawnSync('mount', ['-t', 'tmpfs', 'none', other]).status).toBe(0)
    try {
      expect(create('--size', '310m', other)).toMatchObject({
        error: { code: 'invalid_request', message: expect.stringContaining('Something else') },
      })
    } finally {
      expect(spawnSync('umount', [other]).status).toBe(0)
    }
  })

  it('an image that is none, and leaves it and nothing else', async () => {
    const broken = join(top, 'broken')
    writeFileSync(`${broken}.img`, Buffer.alloc(1 << 20))
    expect(create(broken)).toMatchObject({
      error: { code: 'volume_failed', message: expect.stringContaining(`mount ${broken}.img at ${broken}`) },
    })
    expect(readdirSync(top).filter((name) => name.startsWith('broken'))).toEqual(['broken.img'])
    expect(loops()).toEqual([])
  })
})
