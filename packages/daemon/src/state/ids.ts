import { randomBytes } from 'node:crypto'

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567'

const DRAWN_BYTES = 4096
/** Random bytes that nobody has had: a few take as long to draw as many. */
let drawn: Buffer = Buffer.alloc(0)

function take(length: number): Buffer {
  if (drawn.length < length) drawn = randomBytes(DRAWN_BYTES)
  const taken = drawn.subarray(0, length)
  drawn = drawn.subarray(length)
  return taken
}

/** 256 is a multiple of 32, so every letter is equally likely. */
function randomName(length: number): string {
  let name = ''
  for (const byte of take(length)) name += ALPHABET[byte % ALPHABET.length]
  return name
}

export const newSandboxId = (): string => `sb-${randomName(10)}`
export const newProcessId = (): string => `p-${randomName(8)}`
export const newFamilyId = (): string => randomName(8)
export const newLayerId = (): string => `l-${randomName(10)}`
export const newCheckpointId = (): string => `cp-${randomName(10)}`
/** Of work that needs layers for as long as it takes. */
export const newHolderId = (): string => `h-${randomName(10)}`
