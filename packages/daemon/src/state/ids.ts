import { randomBytes } from 'node:crypto'

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567'

/** 256 is a multiple of 32, so every letter is equally likely. */
function randomName(length: number): string {
  return Array.from(randomBytes(length), (byte) => ALPHABET[byte % ALPHABET.length]).join('')
}

export const newSandboxId = (): string => `sb-${randomName(10)}`
export const newProcessId = (): string => `p-${randomName(8)}`
export const newFamilyId = (): string => randomName(8)
export const newLayerId = (): string => `l-${randomName(10)}`
export const newCheckpointId = (): string => `cp-${randomName(10)}`
/** Of work that needs layers for as long as it takes. */
export const newHolderId = (): string => `h-${randomName(10)}`
