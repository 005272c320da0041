import { closeSync, openSync, readSync, writeSync } from 'node:fs'

/** Twice, and the file is as it was. */
export function flipByte(file: string, at: number): void {
  const fd = openSync(file, 'r+')
  const byte = Buffer.alloc(1)
  readSync(fd, byte, 0, 1, at)
  writeSync(fd, Buffer.from([~(byte[0] ?? 0) & 0xff]), 0, 1, at)
  closeSync(fd)
}
