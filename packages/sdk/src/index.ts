export type {
  AppliedChanges,
  BaseNode,
  Change,
  CheckpointInfo,
  CheckpointNode,
  DoctorReport,
  ErrorCode,
  FileChange,
  FileEntry,
  FileStat,
  ProcessInfo,
  Pruned,
  RemovedSandbox,
  RetentionRules,
  RolledBack,
  SandboxInfo,
  SandboxNode,
  SandboxStats,
  StoreProblem,
  StoreReport,
  TtySize,
} from '@deltabox/protocol'
export { DeltaBoxError, errorCatalogue } from '@deltabox/protocol/errors'
export { dataDirOf, volumeImageOf } from './address.js'
export type { CallOptions } from './cancel.js'
export { Checkpoint, type CheckpointOptions } from './checkpoint.js'
export { Client, type ClientOptions } from './client.js'
export type { CollectOptions } from './collect.js'
export { CommandHandle, type ExitStatus } from './command-handle.js'
export {
  type CommandResult,
  Commands,
  type ConnectOptions,
  type RunOptions,
  type StartOptions,
} from './commands.js'
export type { StateReference } from './compare.js'
export { type CheckStoreOptions, checkStore, doctor } from './doctor.js'
export { Files, type WriteData, type WriteOptions } from './files.js'
export type { ForkOptions } from './fork.js'
export type { PromoteOptions, Promotion } from './promote.js'
export type { KeepRules, PruneOptions } from './prune.js'
export { type CreateOptions, type Import, type KillOptions, Sandbox } from './sandbox.js'
export { Shell, type ShellOptions, type ShellResult, type ShellRunOptions } from './shell.js'
export { parseSize } from './size.js'
export type { ImportOptions, ImportSource } from './transfer.js'
