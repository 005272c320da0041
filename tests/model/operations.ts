/** What the model test does, and sequences of it drawn from a seed. */

/** A tree's letter and a path in it. */
export type Place = readonly [tree: string, inside: string]

/** Pseudo-random bytes, told by what they are made from. */
export interface Data {
  readonly seed: number
  readonly length: number
}

/** Carried out by actor.py, which has a function for each. */
export interface FileOperation {
  readonly op: string
  readonly [parameter: string]: unknown
}

/** A `checkpoint` counts those taken so far, modulo how many there are: it means one in any part of a sequence. */
export type StateOperation =
  | { readonly op: 'checkpoint' }
  | { readonly op: 'rollback'; readonly checkpoint: number }
  | {
      readonly op: 'fork'
      /** Of the sandbox as it is when undefined. */
      readonly checkpoint?: number
      /** Which one is gone on with. */
      readonly goOnIn: 'child' | 'parent'
    }

export type Operation = FileOperation | StateOperation

export function isStateOperation(operation: Operation): operation is StateOperation {
  return ['checkpoint', 'rollback', 'fork'].includes(operation.op)
}

/** What a sequence is drawn from: the names there are (with their modes, octal), the slots that are taken. */
export interface Seen {
  readonly names: Readonly<Record<string, string>>
  readonly slots: Readonly<Record<string, 'File' | 'Listing' | 'Mapping'>>
}

export type Random = () => number

/** mulberry32: the same numbers for the same seed, everywhere. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * Few, so that they meet again: one after another on the same path is what layers must get right. And short: overlayfs
 * renames no directory of a layer whose path is longer than 256.
 */
const NAMES = ['a', 'b', 'c', 'd', 'e', '.hidden', 'two words', 'späť', 'l'.repeat(40), 'line\nbreak']
const MOST_NAMES = 90
const DEEPEST = 5
const SLOTS = 8
const SLOT_OF_MAPPING = 100
const MAPPINGS = 3
/** Two names of a file of the base show different inode numbers. */
const LINKS_IN = 'r'
const XATTRS = ['user.a', 'user.b', 'user.long.name']

/** Draws one operation after the other, looking at what there is. */
export class Draw {
  readonly #random: Random
  readonly #trees: readonly string[]

  constructor(random: Random, trees: readonly string[]) {
    this.#random = random
    this.#trees = trees
  }

  next(seen: Seen): Operation {
    const names = Object.keys(seen.names)
    const crowded = names.length > MOST_NAMES ? 4 : 1
    return this.#weighted<() => Operation>([
      [30 * crowded, () => this.#removal(seen)],
      [60 / crowded, () => this.#creation(seen)],
      [60, () => this.#change(seen)],
      [45, () => this.#renaming(seen)],
      [70, () => this.#byDescriptor(seen)],
      [14, () => this.#mapped(seen)],
      [12, () => this.#listed(seen)],
      [6, () => this.#directory(seen)],
      [16, () => ({ op: 'checkpoint' })],
      [4, () => ({ op: 'rollback', checkpoint: this.#number(1000) })],
      [3, () => this.#fork()],
    ])()
  }

  #fork(): Operation {
    const goOnIn = this.#chance(0.4) ? 'child' : 'parent'
    return this.#chance(0.5) ? { op: 'fork', goOnIn } : { op: 'fork', goOnIn, checkpoint: this.#number(1000) }
  }

  #creation(seen: Seen): Operation {
    const path = this.#newPlace(seen)
    return this.#oneOf<() => Operation>([
      () => ({ op: 'create', path, mode: this.#mode(), data: this.#data() }),
      () => ({ op: 'create', path, mode: 0o644, data: this.#data() }),
      () => ({ op: 'put', path, mode: 0o644, data: this.#data() }),
      () => ({ op: 'mkdir', path, mode: this.#mode() | 0o700 }),
      () => ({ op: 'mkdir', path, mode: 0o755 }),
      () => ({ op: 'symlink', path, target: this.#target() }),
      () => ({ op: 'link', ...this.#twoNames(seen) }),
      () => ({ op: 'link', ...this.#secondName(seen) }),
      () => ({ op: 'copy_range', ...this.#pair(seen), length: this.#number(9000) }),
      () => ({ op: 'mkfifo', path, mode: 0o600 }),
    ])()
  }

  #removal(seen: Seen): Operation {
    const path = this.#belowTop(seen)
    if (this.#typeOf(seen, path) !== 'directory') return { op: 'unlink', path }
    return { op: this.#chance(0.6) ? 'rmdir' : 'remove_all', path }
  }

  #change(seen: Seen): Operation {
    const path = this.#existing(seen)
    return this.#oneOf<() => Operation>([
      () => ({ op: 'write', path, offset: this.#number(9000), data: this.#data() }),
      () => ({ op: 'write', path, offset: this.#number(300), data: this.#data() }),
      () => ({ op: 'append', path, data: this.#data() }),
      () => ({ op: 'append', path, data: this.#data() }),
      () => ({ op: 'put', path, mode: 0o644, data: this.#data() }),
      () => ({ op: 'truncate', path, length: this.#chance(0.4) ? 0 : this.#number(9000) }),
      () => ({
        ...{ op: 'allocate', path, how: this.#oneOf(['allocate', 'keep', 'punch', 'zero']) },
        ...{ offset: this.#number(9000), length: 1 + this.#number(9000) },
      }),
      () => ({ op: 'chmod', path, mode: this.#mode() }),
      () => ({ op: 'chown', path, uid: this.#id(), gid: this.#id() }),
      () => ({ op: 'utime', path, ns: this.#time() }),
      () => ({ op: 'set_xattr', path, ...this.#xattr(), how: this.#oneOf(['any', 'any', 'new', 'old']) }),
      () => ({ op: 'set_xattr', path, ...this.#xattr(), how: 'any' }),
      () => ({ op: 'remove_xattr', path, name: this.#oneOf(XATTRS) }),
    ])()
  }

  #renaming(seen: Seen): Operation {
    const op = this.#weighted([
      [8, 'rename'],
      [3, 'exchange'],
      [2, 'rename_new'],
    ])
    if (this.#chance(0.35)) return { op, ...this.#directories(seen) }
    const path = this.#belowTop(seen)
    const to = this.#chance(0.5) ? this.#belowTop(seen, path[0]) : this.#newPlace(seen, path[0])
    return { op, path, to }
  }

  #byDescriptor(seen: Seen): Operation {
    const taken = this.#slotsOf(seen, 'File')
    if (taken.length === 0 || this.#chance(0.2)) return this.#opening(seen)
    const slot = this.#oneOf(taken)
    return this.#oneOf<() => Operation>([
      () => ({ op: 'fd_write', slot, data: this.#data() }),
      () => ({ op: 'fd_write', slot, data: this.#data() }),
      () => ({ op: 'fd_write_at', slot, offset: this.#number(9000), data: this.#data() }),
      () => ({ op: 'fd_read', slot, length: this.#number(4000) }),
      () => ({ op: 'fd_seek', slot, offset: this.#number(9000) }),
      () => ({ op: 'fd_truncate', slot, length: this.#number(9000) }),
      () => ({ op: 'fd_chmod', slot, mode: this.#mode() }),
      () => ({ op: 'fd_chown', slot, uid: this.#id(), gid: this.#id() }),
      () => ({ op: 'fd_utime', slot, ns: this.#time() }),
      () => ({ op: 'fd_set_xattr', slot, ...this.#xattr() }),
      () => ({ op: 'fd_sync', slot }),
      () => ({ op: 'fd_link', slot, to: this.#newPlace(seen, LINKS_IN) }),
      () => ({ op: 'dup', slot, to: this.#number(SLOTS) }),
      () => ({ op: 'close', slot }),
      () => ({
        op: 'open_at',
        slot: this.#number(SLOTS),
        directory: slot,
        ...this.#nameAt(),
        ...this.#flags(),
      }),
      () => ({ op: 'mkdir_at', directory: slot, ...this.#nameAt(), mode: 0o755 }),
      () => ({ op: 'unlink_at', directory: slot, ...this.#nameAt() }),
      () => ({
        ...{ op: 'rename_at', directory: slot, ...this.#nameAt() },
        ...{ to_directory: this.#oneOf(taken), to: this.#oneOf(NAMES) },
      }),
    ])()
  }

  #opening(seen: Seen): Operation {
    const slot = this.#number(SLOTS)
    const directories = this.#placesOf(seen, 'directory')
    const directory = this.#oneOf(directories)
    return this.#weighted<() => Operation>([
      [6, () => ({ op: 'open', slot, path: this.#existing(seen), ...this.#flags() })],
      [3, () => ({ op: 'open', slot, path: this.#newPlace(seen), ...this.#flags() })],
      [3, () => ({ op: 'open', slot, path: directory, flags: ['RDONLY', 'DIRECTORY'], mode: 0 })],
      [2, () => ({ op: 'open', slot, path: directory, flags: ['RDWR', 'TMPFILE'], mode: 0o640 })],
      [1, () => ({ op: 'open', slot, path: this.#existing(seen), flags: ['PATH', 'NOFOLLOW'], mode: 0 })],
    ])()
  }

  #mapped(seen: Seen): Operation {
    const taken = this.#slotsOf(seen, 'Mapping')
    if (taken.length < MAPPINGS && this.#chance(0.4)) {
      const kind = this.#oneOf(['shared', 'shared', 'read', 'private'])
      return {
        op: 'map',
        slot: SLOT_OF_MAPPING + this.#number(MAPPINGS),
        path: this.#existing(seen, 'file'),
        kind,
      }
    }
    const slot = taken.length > 0 ? this.#oneOf(taken) : SLOT_OF_MAPPING
    if (this.#chance(0.2)) return { op: 'close', slot }
    return { op: 'map_write', slot, offset: this.#number(9000), data: this.#data(), ns: this.#time() }
  }

  #listed(seen: Seen): Operation {
    const taken = this.#slotsOf(seen, 'Listing')
    if (taken.length === 0) {
      return {
        op: 'list_begin',
        slot: this.#number(SLOTS),
        path: this.#oneOf(this.#placesOf(seen, 'directory')),
      }
    }
    return { op: this.#chance(0.6) ? 'list_more' : 'list_end', slot: this.#oneOf(taken) }
  }

  #directory(seen: Seen): Operation {
    if (this.#chance(0.5)) return { op: 'chdir', path: this.#oneOf(this.#placesOf(seen, 'directory')) }
    return { op: 'put_here', name: this.#oneOf(NAMES), data: this.#data() }
  }

  // ---- places ----

  #existing(seen: Seen, type?: string): Place {
    const places = this.#placesOf(seen, type)
    return places.length > 0 ? this.#oneOf(places) : this.#oneOf(this.#placesOf(seen))
  }

  /** The top of a tree is a mount point inside, and outside is not. */
  #belowTop(seen: Seen, tree?: string): Place {
    const places = this.#placesOf(seen).filter(
      ([at, inside]) => inside !== '' && (tree === undefined || at === tree),
    )
    return places.length > 0 ? this.#oneOf(places) : this.#newPlace(seen, tree)
  }

  #twoNames(seen: Seen): { path: Place; to: Place } {
    return { path: this.#belowTop(seen, LINKS_IN), to: this.#belowTop(seen, LINKS_IN) }
  }

  #secondName(seen: Seen): { path: Place; to: Place } {
    return { path: this.#belowTop(seen, LINKS_IN), to: this.#newPlace(seen, LINKS_IN) }
  }

  #pair(seen: Seen): { path: Place; to: Place } {
    const path = this.#existing(seen, 'file')
    return { path, to: this.#newPlace(seen, path[0]) }
  }

  /** Two of one tree, neither its top. */
  #directories(seen: Seen): { path: Place; to: Place } {
    const tree = this.#oneOf(this.#trees)
    const places = this.#placesOf(seen, 'directory').filter(([at, inside]) => at === tree && inside !== '')
    const path = places.length > 0 ? this.#oneOf(places) : this.#belowTop(seen)
    const to = places.length > 0 && this.#chance(0.5) ? this.#oneOf(places) : this.#newPlace(seen, path[0])
    return { path, to }
  }

  /** In an existing directory; now and then it is there already. */
  #newPlace(seen: Seen, tree: string = this.#oneOf(this.#trees)): Place {
    const directories = this.#placesOf(seen, 'directory').filter(
      ([at, inside]) => at === tree && inside.split('/').length < DEEPEST,
    )
    const [, inside] = this.#oneOf(directories)
    const name = this.#oneOf(NAMES)
    return [tree, inside === '' ? name : `${inside}/${name}`]
  }

  #placesOf(seen: Seen, type?: string): Place[] {
    const places = Object.keys(seen.names).map((name): Place => [name.slice(0, 1), name.slice(2)])
    return type === undefined ? places : places.filter((place) => this.#typeOf(seen, place) === type)
  }

  #typeOf(seen: Seen, [tree, inside]: Place): string {
    const type = Number(seen.names[`${tree}:${inside}`] ?? 0) & 0o170000
    return type === 0o040000 ? 'directory' : type === 0o100000 ? 'file' : 'other'
  }

  #slotsOf(seen: Seen, kind: string): number[] {
    return Object.keys(seen.slots)
      .filter((slot) => seen.slots[slot] === kind)
      .map(Number)
  }

  // ---- values ----

  #flags(): { flags: string[]; mode: number } {
    const access = this.#oneOf(['RDONLY', 'RDWR', 'RDWR', 'WRONLY'])
    const more = this.#oneOf([
      [],
      [],
      ['CREAT'],
      ['CREAT'],
      ['APPEND'],
      ['CREAT', 'APPEND'],
      ['CREAT', 'EXCL'],
      ['TRUNC'],
    ])
    return { flags: [access, 'NONBLOCK', ...more], mode: 0o644 }
  }

  #nameAt(): { name: string } {
    return { name: this.#oneOf(NAMES) }
  }

  /** A symbolic link leads nowhere above where it is, wherever it is moved to. */
  #target(): string {
    const [first, second] = [this.#oneOf(NAMES), this.#oneOf(NAMES)]
    return this.#oneOf([first, `${first}/${second}`, '/nowhere/at all', '.'])
  }

  #data(): Data {
    const length = this.#weighted([
      [1, 0],
      [8, 1 + this.#number(200)],
      [6, 1 + this.#number(9000)],
      [1, 40_000 + this.#number(30_000)],
    ])
    return { seed: this.#number(2 ** 31), length }
  }

  #xattr(): { name: string; data: Data } {
    return { name: this.#oneOf(XATTRS), data: { seed: this.#number(2 ** 31), length: this.#number(60) } }
  }

  #mode(): number {
    return this.#oneOf([0o644, 0o600, 0o755, 0o777, 0o400, 0o000, 0o4755, 0o2755, 0o1777, 0o2640])
  }

  #id(): number {
    return this.#oneOf([0, 0, 1, 1000, 65534, 4242])
  }

  /** Long ago, in nanoseconds, and not a whole number of seconds. */
  #time(): number {
    return 1e18 + this.#number(5e8) * 1e9 + this.#number(1e6) * 1000
  }

  #chance(share: number): boolean {
    return this.#random() < share
  }

  #number(below: number): number {
    return Math.floor(this.#random() * below)
  }

  #oneOf<T>(list: readonly T[]): T {
    const one = list[this.#number(list.length)]
    if (one === undefined) throw new Error('nothing to choose from')
    return one
  }

  #weighted<T>(list: readonly (readonly [number, T])[]): T {
    const total = list.reduce((sum, [weight]) => sum + weight, 0)
    let at = this.#random() * total
    for (const [weight, value] of list) {
      at -= weight
      if (at < 0) return value
    }
    throw new Error('weights that do not add up')
  }
}
