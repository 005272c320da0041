export type {
  AppliedChanges,
  Change,
  DoctorReport,
  ErrorCode,
  FileEntry,
  FileStat,
  ProcessInfo,
  SandboxInfo,
  SandboxStats,
  TtySize,
} from '@deltabox/protocol'
export { DeltaBoxError, errorCatalogue } from '@deltabox/protocol/errors'
export type { CallOptions } from './cancel.js'
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
export { doctor } from './doctor.js'
export { Files, type WriteData, type WriteOptions } from './files.js'
export { type CreateOptions, Sandbox } from './sandbox.js'
export { Shell, type ShellOptions, type ShellResult, type ShellRunOptions } from './shell.js'
export { parseSize } from './size.js'
