/** Numbers that are the same for the same seed, on every machine. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** From 0 up to, but not, 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** One of 0 … below - 1. */
  below(bound: number): number {
    return Math.floor(this.next() * bound)
  }
}

/** A seed of its own for whatever has that number: what the others draw does not matter to it. */
export function seedFor(seed: number, number: number): number {
  return new Random((seed ^ Math.imul(number + 1, 0x9e3779b1)) >>> 0).below(2 ** 32)
}
