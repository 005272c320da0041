/** inotify watches: they go on with what they are on, wherever that lies, and neither events nor their order change. */
import { expect, it } from 'vitest'
import { type Scene, useStage } from './support/stage.js'

const stage = useStage()

const NOTES = `
  notes = LIBC.inotify_init1(os.O_NONBLOCK)

  def watch(path, mask):
      return LIBC.inotify_add_watch(notes, path.encode(), mask)

  def events():
      """Of each that waits: number, mask, name."""
      try:
          data = os.read(notes, 65536)
      except BlockingIOError:
          return []
      found = []
      while data:
          number, mask, _, size = struct.unpack_from("iIII", data)
          found.append([number, mask, data[16:16 + size].rstrip(b"\\0").decode()])
          data = data[16 + size:]
      return found`

const CREATE = 0x100
const DELETE_SELF = 0x400
const IGNORED = 0x8000

async function watcher(scene: Scene) {
  const py = await scene.python()
  await py.do(NOTES)
  return py
}

it('a watched directory is found wherever it has been renamed to', async () => {
  const scene = await stage.scene()
  const py = await watcher(scene)
  await py.do(`os.makedirs("a/b/c"); watch("a/b/c", ${CREATE})`)
  for (const [from, to, place] of [
    ['a', 'x', 'x/b/c'],
    ['x/b/c', 'c', 'c'],
    ['c', 'x/b/d', 'x/b/d'],
  ]) {
    await scene.quietCheckpoint()
    await py.do(`os.rename("${from}", "${to}")`)
    await scene.quietCheckpoint()
    await py.do(`write_file("${place}/after-${from?.length}-${to?.length}", b"")`)
    expect(await py.do('events()')).toEqual([[1, CREATE, `after-${from?.length}-${to?.length}`]])
  }
})

it('what could not be found once is looked for again', async () => {
  const scene = await stage.scene()
  const py = await watcher(scene)
  await py.do(`
    os.makedirs("d/" * 200 + "watched")
    watch("d/" * 200 + "watched", ${CREATE})`)
  for (let time = 0; time < 2; time++)
    await expect(scene.checkpoint()).rejects.toThrow('look for what is watched')
  await py.do('os.rename("d/" * 200 + "watched", "watched")')
  await scene.quietCheckpoint()
  await py.do('write_file("watched/file", b"")')
  expect(await py.do('events()')).toEqual([[1, CREATE, 'file']])
})

it('the number of a removed directory may be that of another one', async () => {
  const scene = await stage.scene()
  const py = await watcher(scene)
  await py.do(
    `os.makedirs("one"); watch("one", ${CREATE}); fd = os.open("one", os.O_RDONLY); os.rmdir("one")`,
  )
  await scene.quietCheckpoint()
  await py.do(`
    os.close(fd)
    events()
    for i in range(64): os.mkdir(f"d{i}")
    numbers = [watch(f"d{i}", ${CREATE}) for i in range(64)]`)
  await scene.quietCheckpoint()
  await py.do('for i in range(64): write_file(f"d{i}/{i}", b"")')
  const numbers: number[] = await py.do('numbers')
  expect(await py.do('events()')).toEqual(numbers.map((number, at) => [number, CREATE, `${at}`]))
})

it('that a directory was removed is told at once', async () => {
  const scene = await stage.scene()
  const py = await watcher(scene)
  await py.do(`os.mkdir("gone"); watch("gone", ${DELETE_SELF})`)
  for (let time = 0; time < 2; time++) {
    await scene.sh(`echo ${time} > written`)
    await scene.quietCheckpoint()
  }
  await py.do('os.rmdir("gone")')
  expect(await py.do('events()')).toEqual([
    [1, DELETE_SELF, ''],
    [1, IGNORED, ''],
  ])
})

it('a removed directory that is held open is gone for its watch, and not taken for what has its name', async () => {
  const scene = await stage.scene()
  const py = await watcher(scene)
  await py.do(`
    os.mkdir("gone"); watch("gone", ${DELETE_SELF})
    fd = os.open("gone", os.O_RDONLY); os.rmdir("gone"); os.mkdir("gone")`)
  await scene.quietCheckpoint()
  expect(await py.do('events()')).toEqual([
    [1, DELETE_SELF, ''],
    [1, IGNORED, ''],
  ])
  await py.do('os.rmdir("gone")')
  expect(await py.do('events()')).toEqual([])
})
