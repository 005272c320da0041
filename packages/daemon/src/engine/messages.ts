/** What each operation of docs/engine-protocol.md takes and gives. */

export interface EngineProcess {
  readonly process: string
  readonly pid: number
  readonly running: boolean
  readonly exitCode?: number
  readonly signal?: number
  readonly oomKilled?: boolean
  readonly held: boolean
  readonly tty: boolean
  readonly stdin: boolean
  readonly written: readonly [number, number]
}

export interface EngineSandbox {
  readonly sandbox: string
  readonly dead: boolean
  /** The layer that is written to. */
  readonly head: string
  readonly initPid: number
  readonly processes: readonly EngineProcess[]
}

export interface Hello {
  readonly version: number
  readonly engine: string
  readonly pid: number
  readonly uidBase: number
  readonly warm: number
  readonly images: readonly EngineImage[]
  readonly sandboxes: readonly EngineSandbox[]
}

/** The processes of a checkpoint. */
interface EngineImage {
  readonly image: string
  /** They can be brought back. */
  readonly ready: boolean
  /** Why they never can. */
  readonly failure?: Uint8Array
  /** Beyond what it shares with others. */
  readonly bytes: number
}

export interface SeedDirectory {
  readonly path: string
  readonly mode: number
  readonly opaque: boolean
}

export interface SeedFile {
  readonly path: string
  readonly mode: number
  readonly content: Uint8Array
}

export interface Seed {
  readonly hide: readonly string[]
  readonly directories: readonly SeedDirectory[]
  readonly files: readonly SeedFile[]
}

interface BaseParameters {
  readonly base: string
  /** Made and removed by the engine. */
  readonly dir: string
  /** Directories whose own directories come and go all the time. */
  readonly busy: readonly string[]
  /** Where layers are made ahead of need: made by the engine, on the file system of the layers. */
  readonly stock: string
  readonly source: string
  readonly seed: Seed
  readonly volumes: readonly { readonly path: string; readonly source: string }[]
}

export interface Limits {
  readonly memoryBytes?: number
  readonly pids?: number
  readonly cpus?: number
}

/** Of an image, for a rollback of the sandbox or, without one, for new ones. */
export interface Wanted {
  readonly image: string
  readonly sandbox?: string
  readonly count: number
}

export interface CreateParameters {
  readonly sandbox: string
  readonly base: string
  readonly dir: string
  /** Frozen layers, newest first. */
  readonly layers: readonly string[]
  /** The layer that will be written to: made by the engine. */
  readonly head: string
  readonly hostname: string
  readonly net: 'none' | 'host'
  readonly limits: Limits
}

export interface CheckpointTaken {
  /** Nothing was written since the last switch: the head is still the old one, and the rest is not told. */
  readonly unchanged: boolean
  /** How many its image has; without any there is no image. */
  readonly processes?: number
  /** Where nothing has changed and there are some: the image that has them. */
  readonly image?: string
  /** Open files that were moved to the new head. */
  readonly files?: number
  /** What was copied of their memory. */
  readonly memoryBytes?: number
  /** `blocking` is how long the processes stood still. */
  readonly timings?: Readonly<Record<string, number>>
}

/** What forbids a checkpoint. */
export interface EngineObstacle {
  readonly pid: number
  readonly command: Uint8Array
  readonly object: Uint8Array
  readonly reason: Uint8Array | string
}

export interface StartParameters {
  readonly sandbox: string
  readonly process: string
  readonly argv: readonly string[]
  readonly env: readonly string[]
  readonly cwd: string
  readonly user?: string
  readonly tty?: { readonly cols: number; readonly rows: number }
  readonly stdin: boolean
  readonly hold: boolean
  readonly ringBytes?: number
}

export type NodeType = 'file' | 'directory' | 'symlink' | 'fifo' | 'socket' | 'device'

export interface EngineStat {
  readonly type: NodeType
  readonly size: number
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeMs: number
  readonly ctimeMs: number
  readonly inode: number
  readonly links: number
  readonly target?: Uint8Array
}

export type EngineEntry = EngineStat & { readonly name: Uint8Array }

interface NodeFacts {
  readonly type: NodeType
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly size: number
}

/** Nanoseconds since the epoch do not fit a number. */
type NodeBefore = NodeFacts & { readonly ctimeNs: bigint | number; readonly mtimeNs: bigint | number }

export interface EngineChange extends Partial<NodeFacts> {
  readonly kind: 'A' | 'M' | 'D'
  /** Relative to the tree, whose own is empty. */
  readonly path: Uint8Array
  readonly before?: NodeBefore
}

interface Operation<Parameters, Ok, Part = never> {
  readonly parameters: Parameters
  readonly ok: Ok
  readonly part: Part
}

type Nothing = Readonly<Record<string, never>>
interface InSandbox {
  readonly sandbox: string
}
interface OfProcess extends InSandbox {
  readonly process: string
}
interface OfHandle {
  readonly handle: number
}
interface AtPath extends InSandbox {
  readonly path: string | Uint8Array
}

interface Operations {
  hello: Operation<{ version: number }, Hello>
  /** From now on so many are made ahead of need: cells alone, and those in which an image's processes stand, on its files. */
  'cells.warm': Operation<
    {
      count: number
      images?: readonly Wanted[]
      limits?: Limits
    },
    Nothing
  >
  'engine.exit': Operation<Nothing, Nothing>
  'base.open': Operation<BaseParameters, { timings: Readonly<Record<string, number>> }>
  'sandbox.create': Operation<
    CreateParameters & { image?: string },
    {
      initPid: number
      cgroups: readonly string[]
      /** How many of an image run again, and the commands among them. */
      revived: number
      processes: readonly EngineProcess[]
      timings: Readonly<Record<string, number>>
    }
  >
  'sandbox.rollback': Operation<
    InSandbox & { layers: readonly string[]; head: string; image?: string },
    {
      initPid: number
      stopped: number
      /** How many run again. */
      revived: number
      /** The commands among them. */
      processes: readonly EngineProcess[]
      timings: Readonly<Record<string, number>>
    }
  >
  'sandbox.checkpoint': Operation<
    InSandbox & { head: string; layers?: readonly string[]; image: string; much: number },
    CheckpointTaken
  >
  'image.store': Operation<
    { image: string; dir: string; base: string; layers: readonly string[]; compress: boolean },
    /** Of its file, and the images in whose files other pages of it are. */
    { bytes: number; needs: readonly string[] }
  >
  'image.load': Operation<
    { image: string; dir: string; base: string; layers: readonly string[] },
    { bytes: number }
  >
  /** Told of those whose size changes by that. */
  'image.drop': Operation<{ image: string }, { images: readonly Pick<EngineImage, 'image' | 'bytes'>[] }>
  /** Their files are gone: they are written anew when that is asked for. */
  'images.unstore': Operation<{ images: readonly string[] }, Nothing>
  'layers.diff': Operation<
    { base: string; tree: number; from: readonly string[]; to: readonly string[] },
    Nothing,
    { changes: readonly EngineChange[] }
  >
  'layers.merge': Operation<
    { layers: readonly string[]; into: string; trees: number },
    { bytes: number; files: number }
  >
  'layer.measure': Operation<{ dir: string }, { bytes: number; files: number }>
  'layer.sync': Operation<{ dir: string }, Nothing>
  'sandbox.destroy': Operation<InSandbox & { remove: boolean }, Nothing>
  'sandbox.stats': Operation<
    InSandbox,
    { memoryBytes?: number; processes?: number; cpuUsec?: number; oomKills?: number }
  >
  'sandbox.usage': Operation<InSandbox, { bytes: number; files: number }>
  'sandbox.signal': Operation<InSandbox & { signal: number }, { count: number }>
  'process.start': Operation<StartParameters, { pid: number; hostPid: number }>
  'process.read': Operation<
    OfProcess & { stream: 1 | 2; offset: number; max: number; release?: number; wait: boolean },
    { offset: number; data: Uint8Array; end: boolean }
  >
  'process.hold': Operation<OfProcess & { hold: boolean }, Nothing>
  'process.write': Operation<OfProcess & { data: Uint8Array }, Nothing>
  'process.close-stdin': Operation<OfProcess, Nothing>
  'process.signal': Operation<OfProcess & { signal: number; group: boolean }, Nothing>
  'process.resize': Operation<OfProcess & { cols: number; rows: number }, Nothing>
  'process.forget': Operation<OfProcess, Nothing>
  'file.open': Operation<
    AtPath & { mode: 'read' | 'write' | 'append'; create?: number; parents: boolean; chmod?: number },
    { handle: number; stat: EngineStat }
  >
  'file.read': Operation<OfHandle & { max: number }, { data: Uint8Array; end: boolean }>
  'file.write': Operation<OfHandle & { data: Uint8Array }, Nothing>
  'file.close': Operation<OfHandle, { stat: EngineStat }>
  'file.stat': Operation<AtPath & { follow: boolean }, EngineStat>
  'file.list': Operation<AtPath, Nothing, { entries: readonly EngineEntry[] }>
  'file.mkdir': Operation<AtPath & { parents: boolean; mode: number }, Nothing>
  'file.remove': Operation<AtPath & { recursive: boolean }, Nothing>
  'file.rename': Operation<InSandbox & { from: string; to: string }, Nothing>
  'file.symlink': Operation<AtPath & { target: string }, Nothing>
}

export type OperationName = keyof Operations
export type Parameters<Name extends OperationName> = Operations[Name]['parameters']
export type Ok<Name extends OperationName> = Operations[Name]['ok']
export type Part<Name extends OperationName> = Operations[Name]['part']

export interface ImageReady {
  readonly event: 'image.ready'
  readonly image: string
  readonly bytes: number
}

export interface ImageFailed {
  readonly event: 'image.failed'
  readonly image: string
  readonly reason: Uint8Array
}

export type EngineEvent =
  | ImageReady
  | ImageFailed
  | {
      readonly event: 'process.exit'
      readonly sandbox: string
      readonly process: string
      readonly exitCode?: number
      readonly signal?: number
      readonly oomKilled: boolean
      readonly written: readonly [number, number]
    }
  | { readonly event: 'sandbox.dead'; readonly sandbox: string; readonly reason: string }
