/** The program that unpacks, as the daemon drives it. */
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, expect, it } from 'vitest'
import { unpackState } from '../src/engine/transfer.js'

const directory = mkdtempSync(path.join(tmpdir(), 'dbx-transfer-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

function program(script: string): { enginePath: string; directory: string; uidBase: number } {
  const enginePath = path.join(directory, `engine-${Math.random()}`)
  writeFileSync(enginePath, `#!/bin/sh\n${script}\n`)
  chmodSync(enginePath, 0o755)
  return { enginePath, directory, uidBase: 0 }
}

const nothing = async (): Promise<void> => undefined

it('ends when who sends was gone before it began', async () => {
  const body = new PassThrough()
  body.destroy()
  await expect(unpackState(program('exec cat'), body, nothing)).rejects.toThrow('ended by SIGKILL')
})

it('ends when who sends goes meanwhile', async () => {
  const body = new PassThrough()
  body.write('something')
  const unpacked = unpackState(program('exec cat'), body, nothing)
  setImmediate(() => body.destroy(new Error('gone')))
  await expect(unpacked).rejects.toThrow('gone')
})

it('has ended when what it tells is refused', async () => {
  const mark = path.join(directory, 'mark')
  const script = `echo told; exec >&-; while :; do echo x > ${mark}; done`
  const refuse = async (): Promise<void> => {
    throw new Error('refused')
  }
  await expect(unpackState(program(script), Readable.from(['x']), refuse)).rejects.toThrow('refused')
  rmSync(mark, { force: true })
  await delay(50)
  expect(existsSync(mark)).toBe(false)
})

it('says what the program complains of, though it reads nothing', async () => {
  const script = `echo '{"code":"damaged","errno":0,"message":"it is","object":""}' >&2; exit 1`
  const body = Readable.from(Array.from({ length: 100 }, () => Buffer.alloc(100_000)))
  await expect(unpackState(program(script), body, nothing)).rejects.toMatchObject({ code: 'damaged' })
})
